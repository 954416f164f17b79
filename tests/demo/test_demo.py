"""The demo and the UI as people start them: what they show, and that nothing of them stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import patience, until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(3600)
"""Each wait has a bound of its own, which counts the machine's load."""

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment(mark: str) -> dict[str, str]:
    """Return the environment of a user who has set nothing, with a mark that every child inherits."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALESFORCE_", "INSIGHTS_", "DAGSTER_"))
    }
    return kept | {"DEMO_TEST_MARK": mark, "PYTHONUNBUFFERED": "1"}


def left_of(mark: str) -> list[str]:
    """Return the command lines of the processes that carry the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"DEMO_TEST_MARK={mark}".encode() in environ:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex


# -- make demo -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_ends_well_and_its_account_adds_up(tmp_path: Path, mark: str) -> None:
    """The main job from an empty org to pushed scores; the account names pushed, failed, waiting and API calls."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--home", str(tmp_path / "demo")],
        cwd=ROOT,
        env=environment(mark),
        text=True,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    runs = [_figures(line) for line in done.stdout.splitlines() if _is_run(line)]
    assert len(runs) == 9  # three pulls of three objects
    pushed = sum(run["pushed"] for run in runs)
    claimed = sum(run["claimed"] for run in runs)
    failed = sum(run["failed"] for run in runs)
    assert runs[2]["pushed"] == 25  # the web leads, in the first pull
    assert all(run["read"] >= run["due"] >= run["claimed"] for run in runs)
    assert claimed == pushed + failed
    account = done.stdout[done.stdout.index("The account") :]
    assert _number(r"scored today +([\d,]+) of 10,000", account) == claimed
    assert _number(r"failed +([\d,]+)", account) == failed == 3
    assert "3 with FIELD_CUSTOM_VALIDATION_EXCEPTION: This account is on legal hold." in account
    assert _number(r"waiting +([\d,]+)", account) == sum(run["waiting"] for run in runs[6:])
    assert 0 < _number(r"API calls +([\d,]+) of 15,000", account) < 150
    assert left_of(mark) == []


def test_demo_deletes_no_folder_that_is_no_demos(tmp_path: Path, mark: str) -> None:
    """A folder named by mistake stays as it is."""
    (tmp_path / "precious").write_text("stays")

    done = subprocess.run(
        [sys.executable, "-m", "demo", "--home", str(tmp_path)],
        cwd=ROOT,
        env=environment(mark),
        text=True,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 1
    assert "holds other things than a demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def _is_run(line: str) -> bool:
    return line.split()[:1] in (["Account"], ["Contact"], ["Lead"])


def _figures(line: str) -> dict[str, int]:
    names = ("read", "due", "claimed", "scored", "pushed", "failed", "waiting")
    values = [int(cell.replace(",", "")) for cell in line.split()[1:]]
    return dict(zip(names, values, strict=True))


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return int(found[1].replace(",", ""))


# -- make ui ---------------------------------------------------------------------------------------


class Ui:
    """The UI's process, and what it printed."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self.output = output

    @property
    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text()

    @property
    def told(self) -> str:
        """Return what it has printed, and the end of Dagster's log."""
        log = self.output.parent / "home" / "dagster.log"
        return self.printed + (log.read_text()[-4000:] if log.exists() else "")

    def address(self, label: str) -> str:
        """Return the address printed behind a label, without its path."""
        found = re.search(rf"{label} +(http://127\.0\.0\.1:\d+)", self.printed)
        return found[1] if found else ""


@contextmanager
def running_ui(home: Path, mark: str) -> Iterator[Ui]:
    """Start the UI as a shell's background job is started, with SIGINT ignored; kill what is left at the end."""
    output = home.parent / "printed"
    with output.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo.ui", "--port", "0", "--home", str(home)],
            cwd=ROOT,
            env=environment(mark),
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        )
    try:
        yield Ui(process, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(patience())


@pytest.mark.slow
def test_ui_scores_an_edit_by_itself_and_ends_with_all_its_processes(
    tmp_path: Path, mark: str
) -> None:
    """R14, R17: sensor and daemon at work; Ctrl-C ends the org, the server, the daemon and their children."""
    with running_ui(tmp_path / "home", mark) as ui:
        _until(lambda: ui.address("Dagster") and _answers(ui.address("Dagster")), ui)
        org = ui.address("Bulk jobs page")
        # The sensor makes up the daily pull that is missing; its last runs are through when all objects have scores.
        _until(lambda: all(_scored(org, name) for name in ("Account", "Contact", "Lead")), ui)
        lead = _query(org, "SELECT Id, Mintigo_update_datetime__c FROM Lead LIMIT 1")[0]
        changes = {"Id": lead["Id"], "NumberOfEmployees": 4321, "Website": "www.edited.example"}
        _control(org, "save", {"object": "Lead", "operation": "update", "records": [changes]})
        stamp = f"SELECT Mintigo_update_datetime__c FROM Lead WHERE Id = '{lead['Id']}'"

        def scored_anew() -> bool:
            now: Any = _query(org, stamp)[0]["Mintigo_update_datetime__c"]
            return now is not None and now != lead["Mintigo_update_datetime__c"]

        _until(scored_anew, ui)
        processes = left_of(mark)
        assert len(processes) >= 5, processes

        ui.process.send_signal(signal.SIGINT)

        assert ui.process.wait(patience()) == 0, ui.printed
        assert ui.printed.rstrip().endswith("Ending.")
        until(lambda: not left_of(mark), "the last of its processes to end")


def _until(holds: Callable[[], object], ui: Ui) -> None:
    """Wait until it holds; fail with what was printed when it takes too long or the UI ends by itself."""

    def alive() -> object:
        assert ui.process.poll() is None, ui.told
        return holds()

    try:
        until(alive, "the UI")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{ui.told}") from None


def _answers(address: str) -> bool:
    try:
        with _NO_PROXY.open(f"{address}/server_info", timeout=60) as response:
            return bool(json.load(response)["dagster_version"])
    except OSError:
        return False


def _scored(org: str, name: str) -> bool:
    soql = f"SELECT Id FROM {name} WHERE Mintigo_hash__c LIKE '1.%' LIMIT 1"
    return bool(_query(org, soql))


def _query(org: str, soql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _control(org, "query", {"soql": soql})["records"]
    return rows


def _control(org: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{org}/_control/{path}", data=json.dumps(body).encode(), method="POST"
    )
    with _NO_PROXY.open(request, timeout=120) as response:
        return json.load(response)
