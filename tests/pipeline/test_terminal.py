"""Tables of the command line: in a pipe a row is a line, on a terminal they keep to its width."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from pipeline.commands.terminal import print_table, say

ROOT = Path(__file__).parents[2]
WORDS = "The value is too long for its field and has to be cut by a person. " * 3
ROWS = [
    {"id": "00Q000000000001AAA", "code": "STRING_TOO_LONG", "message": WORDS.strip()},
    {"id": "00Q000000000002AAA", "code": None, "message": "[red]not markup[/red]"},
]
COLUMNS = ("id", "code", "message")
BOLD = re.compile(r"\x1b\[[01]m")
START = f"""
from pipeline.commands.terminal import print_table
print_table({ROWS!r}, {COLUMNS!r})
"""


STEERING = "a\x1b[2J\x1b]0;owned\x07\x9b1m\r\u202eb"
SHOWN = "a\\x1b[2J\\x1b]0;owned\\x07\\x9b1m\\r\\u202eb"


def _on_terminal(columns: int, **variables: str) -> str:
    """Return what a terminal of so many columns gets."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    env = kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | variables
    subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env=env, stdout=theirs, stdin=theirs, check=True
    )
    os.close(theirs)

    text = b""
    try:
        while part := os.read(ours, 65_536):
            text += part
    except OSError:  # how a terminal says that nobody writes any more
        pass
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def test_in_a_pipe_a_row_is_one_aligned_line_of_plain_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(ROWS, COLUMNS)

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "id                  code             message",
        f"00Q000000000001AAA  STRING_TOO_LONG  {WORDS.strip()}",
        "00Q000000000002AAA                   [red]not markup[/red]",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")
@pytest.mark.parametrize("columns", [60, 100])
def test_on_a_terminal_a_table_keeps_to_its_width_and_loses_nothing(columns: int) -> None:
    text = BOLD.sub("", _on_terminal(columns, NO_COLOR="1"))

    assert max(len(line) for line in text.splitlines()) <= columns
    for word in WORDS.split():
        assert word in text


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")
def test_no_color_is_honoured() -> None:
    """As no-color.org has it: no colours; bold is allowed."""
    assert "\x1b" not in BOLD.sub("", _on_terminal(100, NO_COLOR="1"))


def test_nothing_that_a_record_holds_steers_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Escapes, C1 controls and the direction of writing are shown, not done; a cell is one line."""
    print_table([{"message": f"{STEERING}\nforged line"}], ("message",))
    say(f"failed: {STEERING}")

    assert capsys.readouterr().out.splitlines() == [
        "message",
        f"{SHOWN}\\nforged line",
        f"failed: {SHOWN}",
    ]


@pytest.mark.parametrize("text", ["Müller & Söhne", "株式会社\u3000東京", "👩\u200d🚀"])
def test_other_characters_come_out_as_they_are(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(text)

    assert capsys.readouterr().out == f"{text}\n"


def test_commands_print_by_say_alone() -> None:
    """What goes around it would not be looked at."""
    others = [p for p in (ROOT / "pipeline" / "commands").glob("*.py") if p.name != "terminal.py"]

    printing = [p.name for p in [*others, ROOT / "pipeline" / "cli.py"] if "echo(" in p.read_text()]

    assert printing == []
