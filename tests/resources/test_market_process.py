"""Models run in a process of their own: whatever one does there stops that market alone (R23)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.configuration.settings import MARKET_TIMEOUT_SECONDS_MAX
from pipeline.core.errors import ConfigurationError, MarketUnavailable, ModelFailed
from pipeline.steps.budget import LEASE_LASTS
from resources import market_calls
from resources.models import Models
from tests.core.support import market

MODEL = """
import ctypes, os, re, signal, subprocess, sys, threading, time, warnings
import pyarrow as pa
{load}

class Model:
    def score(self, inputs):
        names = inputs.column("company").to_pylist()
        good = pa.table({{"score": [7] * len(names), "rank": ["A"] * len(names)}})
        return self.give(inputs, names, good)

    def give(self, inputs, names, good):
        {score}


def load(folder):
    return Model()
"""
INPUTS = pa.table({"company": ["Äcme\0\n", None, "=1+1 😀"]})
HANGS_IN_C = 're.match(r"(a+)+$", "a" * 60 + "b")'
WHERE = " at model.py:13"

Write = Callable[..., Models]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give what writes a market whose score() does as told, beside a good one, and opens the models."""

    def written(score: str, load: str = "", timeout_seconds: int = 20) -> Models:
        for name, does in (("fit", score), ("smb", "return good")):
            (tmp_path / name).mkdir(exist_ok=True)
            text = MODEL.format(score=does, load=load if name == "fit" else "")
            (tmp_path / name / "model.py").write_text(text)
        return Models(tmp_path, timeout_seconds, memory_mb=1024)

    return written


def neighbour_scores(models: Models) -> bool:
    table = models.get(market(name="smb")).score(INPUTS)
    return bool(table.column("score").to_pylist() == [7, 7, 7])


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ("raise ValueError(names)", f"raised ValueError{WHERE}"),
        pytest.param(
            "raise KeyboardInterrupt(names)",
            f"raised KeyboardInterrupt{WHERE}",
            marks=pytest.mark.slow,
        ),
        pytest.param("sys.exit(names)", f"raised SystemExit{WHERE}", marks=pytest.mark.slow),
        ("bytearray(2**31)", f"raised MemoryError{WHERE} (market_memory_mb: 1024)"),
        ("return good.slice(1)", "gave 2 rows for 3 records"),
        ("return [1, 2, 3]", "gave a list, not a pyarrow table"),
        ("pass", "gave a NoneType, not a pyarrow table"),
        (
            "return good.to_pandas()",
            "gave a DataFrame, not a pyarrow table; "
            "pyarrow.Table.from_pandas(frame, preserve_index=False) makes one",
        ),
        ("os._exit(3)", "ended its process with exit code 3"),
        pytest.param(
            "os.kill(os.getpid(), 9)",
            "ended its process by signal SIGKILL: most likely the machine",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ctypes.string_at(0)",
            "ended its process by signal SIGSEGV, at model.py:13",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "os.closerange(3, 64); return good", "ended its process", marks=pytest.mark.slow
        ),
        (
            'return pa.table({"rank": pa.Array.from_buffers(pa.string(), 1, [None, '
            'pa.py_buffer(b"\\0\\0\\0\\0\\1\\0\\0\\0"), pa.py_buffer(b"\\xff")])})',
            "gave a table that is broken inside",
        ),
    ],
)
def test_whatever_a_model_does_to_its_process_stops_it_alone(
    write: Write, score: str, says: str
) -> None:
    """R23, R24: the message says what and where, and no value."""
    models = write(score)

    with pytest.raises(ModelFailed) as failed:
        models.get(market()).score(INPUTS, silent=True)

    assert str(failed.value).startswith(f"the model {says}")
    assert "cme" not in str(failed.value)
    assert neighbour_scores(models)


@pytest.mark.parametrize("score", ["time.sleep(600)", HANGS_IN_C])
def test_model_that_hangs_is_ended_and_the_message_names_the_time_out_and_the_line(
    write: Write, score: str
) -> None:
    """R23: even one that keeps the interpreter to itself."""
    models = write(score, timeout_seconds=2)
    model = models.get(market())
    began = time.monotonic()

    with pytest.raises(ModelFailed) as failed:
        model.score(INPUTS)

    assert str(failed.value) == (
        "the model gave no answer within 2 seconds (market_timeout_seconds), at model.py:13"
    )
    assert failed.value.is_slow
    assert time.monotonic() - began < 6
    assert neighbour_scores(models)


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ("time.sleep(600)", "it was not loaded within 2 seconds, at model.py:4."),
        ("os._exit(3)", "while it loads, it ended its process with exit code 3."),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: ."),
        ("sys.exit('no licence')", "SystemExit: no licence."),
    ],
)
def test_model_that_hangs_or_ends_while_it_loads_is_a_problem_of_the_configuration(
    write: Write, load: str, says: str
) -> None:
    """R23: told once, and not waited for again by the same run."""
    models = write("return good", load, timeout_seconds=2)

    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(ConfigurationError) as failed:
            models.get(market())
        assert str(failed.value) == f"market fit: model: model.py:load: {says}"

    assert time.monotonic() - began < 0.5
    assert neighbour_scores(models)


@pytest.mark.slow
def test_call_of_a_search_has_its_share_of_the_time_and_loading_is_no_part_of_it(
    write: Write,
) -> None:
    """D21: else a small part would fail in each new process, whatever its rows."""
    models = write("time.sleep(600 if len(inputs) > 1 else 0); return good", "time.sleep(2.2)")
    model = models.get(market())
    market_calls.end()

    with pytest.raises(ModelFailed, match=r"within 2 seconds \(its share of market_timeout_sec"):
        model.score(INPUTS, seconds=2, in_search=True)

    assert model.score(INPUTS.slice(0, 1), seconds=2, in_search=True).num_rows == 1


@pytest.mark.slow
def test_file_that_cannot_be_loaded_any_more_is_no_rows_fault(write: Write, tmp_path: Path) -> None:
    """D21: no row is searched for."""
    model = write("return good").get(market())
    (tmp_path / "fit" / "model.py").write_text("import no_such_library")
    market_calls.end()

    for in_search in (False, True):
        with pytest.raises(MarketUnavailable, match="no_such_library"):
            model.score(INPUTS, in_search=in_search)


def test_process_that_does_not_start_is_no_rows_fault(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D21: as where the machine has no process left."""
    model = write("return good").get(market())
    market_calls.end()
    monkeypatch.setattr(market_calls.sys, "executable", "/no/such/python")

    with pytest.raises(MarketUnavailable, match="its process did not start"):
        model.score(INPUTS)


def test_a_call_ends_well_within_an_objects_lease() -> None:
    """D3: and the lease is renewed after each."""
    assert LEASE_LASTS.total_seconds() - 120 >= MARKET_TIMEOUT_SECONDS_MAX


def test_market_does_not_suffer_from_what_another_left_behind(write: Write) -> None:
    """R23: it is judged by what it does in a new process."""
    later = "threading.Timer(0.2, os._exit, [9]).start(); return good"
    models = write(later)
    (models._folder / "smb" / "model.py").write_text(
        MODEL.format(score="time.sleep(0.5); return good", load="")
    )
    models.get(market(name="smb"))
    assert models.get(market()).score(INPUTS).num_rows == 3

    assert neighbour_scores(models)


def test_table_comes_back_as_the_model_gave_it(write: Write) -> None:
    """R8: types, nulls, NaN and odd characters; what the market does not declare stays behind."""
    good = """return pa.table(
            [pa.array([1.5, float("nan"), None]), inputs.column("company"), pa.nulls(3), pa.nulls(3)],
            names=["score", "rank", "score", "mood"],
        )"""

    given = write(good).get(market()).score(INPUTS)

    assert given.column_names == ["score", "rank", "score"]
    assert given.column(1).to_pylist() == INPUTS.column("company").to_pylist()
    assert repr(given.column(0).to_pylist()) == "[1.5, nan, None]"


def test_rows_are_counted_where_no_column_is_declared(write: Write) -> None:
    """D8: the missing column is told then, and not a wrong number of rows."""
    given = write('return pa.table({"scores": [1, 2, 3]})').get(market()).score(INPUTS)

    assert (given.num_rows, set(given.column_names) & {"score", "scores"}) == (3, set())


@pytest.mark.parametrize("silent", [True, False])
def test_what_a_model_prints_is_passed_on_or_dropped_and_never_taken_for_its_answer(
    write: Write, silent: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """R24: by whatever way it prints."""
    score = """print(names); print("warned", file=sys.stderr)
        os.write(1, b"written" + bytes([10])); ctypes.CDLL(None).puts(b"by C")
        subprocess.run(["echo", "by a child"]); warnings.warn("odd")
        return good"""
    model = write(score).get(market())

    assert model.score(INPUTS, silent=silent).num_rows == 3

    said = "".join(capfd.readouterr())
    for word in ("cme", "warned", "written", "by C", "by a child", "odd"):
        assert (word in said) is not silent


def test_endless_printing_is_bounded(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """R23: a log that fills the disk would stop everything."""
    model = write('print("x" * 5_000_000); return good').get(market())

    assert model.score(INPUTS).num_rows == 3

    said = capfd.readouterr().err
    assert len(said) < 1_100_000
    assert "dropped" in said


def test_a_model_is_given_no_variable_that_it_does_not_need(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: neither secrets, however they are called, nor anything else but what begins with MARKET_."""
    market_calls.end()
    secrets = (
        "SALESFORCE_CLIENT_SECRET",
        "INSIGHTS_LEDGER_URL",
        "INSIGHTS_ALERT_WEBHOOK",
        "DAGSTER_POSTGRES_URL",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
    )
    for name in secrets:
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("MARKET_SETTING", "fine")
    score = """
        shown = [k for k, v in os.environ.items() if "hush" in v or k == "MARKET_SETTING"]
        return pa.table({"rank": [",".join(shown), None, None]})"""

    given = write(score).get(market()).score(INPUTS)

    assert given.column("rank").to_pylist()[0] == "MARKET_SETTING"
    market_calls.end()


def test_what_a_model_prints_does_not_steer_the_terminal(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """A model may print what records hold."""
    score = """
        print("\\x1b]0;owned\\x07 of a record", flush=True)
        return pa.table({"rank": ["A", None, None]})"""

    write(score).get(market()).score(INPUTS)

    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert "\\x1b]0;owned\\x07 of a record" in said


RUN = """
import sys
from pathlib import Path
from resources.models import Models
from tests.core.support import market
from tests.resources.test_market_process import INPUTS

model = Models(Path(sys.argv[1])).get(market())
print("loaded", flush=True)
model.score(INPUTS)
print("scored", flush=True)
"""


def _started(write: Write, score: str, tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    pid = tmp_path / "pid"
    write(f"Path({str(pid)!r}).write_text(str(os.getpid())); {score}", "from pathlib import Path")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True), pid


def _is_gone(pid: int, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split(") ")[-1].startswith("Z"):
            return True  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_process_ends_at_once_with_the_command_that_started_it(
    write: Write, tmp_path: Path
) -> None:
    """Nobody waits for it, and none is left over."""
    run, pid = _started(write, "return good", tmp_path)
    assert run.stdout is not None
    lines = [run.stdout.readline() for _ in range(2)]
    began = time.monotonic()

    assert (lines, run.wait(10)) == (["loaded\n", "scored\n"], 0)

    assert time.monotonic() - began < 2
    assert _is_gone(int(pid.read_text()), 0.5)
    run.stdout.close()


@pytest.mark.slow
def test_process_ends_when_the_run_is_killed_in_the_middle_of_a_call(
    write: Write, tmp_path: Path
) -> None:
    """D3: a run that is killed leaves nobody behind who goes on scoring."""
    run, pid = _started(write, "time.sleep(600)", tmp_path)
    until = time.monotonic() + 20
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        time.sleep(0.05)

    run.send_signal(signal.SIGKILL)
    run.wait(10)

    assert _is_gone(int(pid.read_text()))
    assert run.stdout is not None
    run.stdout.close()
