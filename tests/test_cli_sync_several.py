"""`gradience sync` of several journals: shared by worker processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click.testing
import pytest

from gradience.cli import sweeping
from gradience.cli.main import group
from gradience.testing import samples
from gradience.testing.folder import runs

pytestmark = pytest.mark.slow
SINK = "gradience.testing.folder:FolderSink"


class Place:
    """A directory of runs, and a tracker."""

    def __init__(self, folder: Path) -> None:
        self.tracker = folder / "tracker"
        self.tracker.mkdir()
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.to = ["--to", SINK, "--tracking-uri", str(self.tracker)]

    def record(self, count: int, lines: int = 5) -> list[Path]:
        """Journals `r00`, `r01`, ..."""
        names = [f"r{number:02}" for number in range(count)]
        return [samples.write(self.runs / f"{name}.jsonl", samples.steps(name, 1, lines)) for name in names]

    def sync(self, *arguments: str) -> click.testing.Result:
        """The command, for the whole directory."""
        return click.testing.CliRunner().invoke(group, ["sync", str(self.runs), *self.to, *arguments])

    def fault(self, kind: str | None) -> None:
        """How the tracker answers."""
        (self.tracker / "fault").write_text(kind or "")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return Place(tmp_path)


def test_every_run_of_a_directory_arrives_once(place: Place) -> None:
    """One line of result for each, in order; a few processes share them."""
    journals = place.record(12)
    result = place.sync()
    assert (result.exit_code, result.stderr) == (0, "")
    heads = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    assert heads == [f"{path} -> {SINK}: 5 sent, 0 rejected, up to date" for path in journals]
    found = runs(place.tracker)
    assert [len(run.deliveries) for run in found.values()] == [5] * 12
    assert len({run.deliveries[0].pid for run in found.values()}) <= sweeping.WORKERS


def test_json_is_one_object_per_file(place: Place) -> None:
    """As for one."""
    place.record(3)
    documents = [json.loads(line) for line in place.sync("--json").stdout.splitlines()]
    assert [document["sent"] for document in documents] == [5, 5, 5]
    assert [next(iter(document["runs"])) for document in documents] == ["r00", "r01", "r02"]


def test_a_failing_run_stops_no_other(place: Place) -> None:
    """It is said, and is the exit code."""
    first, *_ = place.record(6)
    place.sync()
    first.write_bytes(b"".join(samples.steps("r00", 2, 9)))
    samples.write(place.runs / "r05.jsonl", samples.steps("r05", 6, 7))
    result = place.sync()
    assert (result.exit_code, result.stderr.count("Error: ")) == (1, 1)
    assert "--from-start" in result.stderr
    assert len(runs(place.tracker)["r05"].rows) == 7


def test_an_outage_is_found_out_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by two hundred runs with full patience each: the rest is told to be behind, untried."""
    monkeypatch.setattr(sweeping, "PATIENCE_S", 1.0)
    place.record(200)
    place.fault("refused")
    began = time.monotonic()
    result = place.sync()
    assert time.monotonic() - began < 30
    assert result.exit_code == 4
    assert result.stdout.count("0 sent, 0 rejected, 5 behind") == 200
    assert "not tried, as the tracker is down: connection refused" in result.stderr
    place.fault(None)
    assert place.sync().exit_code == 0
    assert [len(run.deliveries) for run in runs(place.tracker).values()] == [5] * 200


def test_a_worker_that_hangs_is_ended_and_the_others_go_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that nobody can interrupt costs its own run alone, and that one only for now."""
    monkeypatch.setattr("gradience.mirror.fleet.crew.HUNG_S", 3.0)
    place.record(2)
    place.fault("hang")
    result = place.sync("--deadline", "1")
    assert result.exit_code == 4
    assert "no answer for 4 s" in result.stderr
    place.fault(None)
    assert place.sync().exit_code == 0


def test_a_deadline_is_that_of_the_whole_command(place: Place) -> None:
    """What was not tried by then is behind."""
    place.record(12)
    place.fault("refused")
    began = time.monotonic()
    result = place.sync("--deadline", "2")
    assert time.monotonic() - began < 20
    assert (result.exit_code, result.stdout.count("5 behind")) == (4, 12)


def test_what_is_no_telemetry_is_said_and_skipped(place: Place) -> None:
    """A data set among the runs is no error."""
    place.record(2)
    (place.runs / "data.jsonl").write_text('{"text": "hello"}\n')
    result = place.sync()
    assert (result.exit_code, result.stderr) == (0, "Skipped 1 .jsonl file that is no telemetry.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_a_name_that_is_no_text_stops_no_other(place: Place) -> None:
    """Neither a cursor nor a tracker can hold it; alone it is refused, too."""
    (good,) = place.record(1)
    odd = samples.write(Path(os.fsdecode(os.fsencode(place.runs) + b"/\xff.jsonl")), samples.steps("odd", 1, 1))
    for arguments in ([], ["--dry-run", "--json"]):
        result = place.sync(*arguments)
        assert (result.exit_code, result.stderr.count("is no UTF-8; rename it")) == (1, 1)
    assert list(runs(place.tracker)) == [good.stem]
    alone = click.testing.CliRunner().invoke(group, ["sync", str(odd), *place.to])
    assert (alone.exit_code, alone.stderr.count("is no UTF-8; rename it")) == (1, 1)


def test_one_tracked_run_cannot_take_several_journals(place: Place) -> None:
    """--run with more than one journal is a mistake."""
    place.record(2)
    result = click.testing.CliRunner().invoke(group, ["sync", str(place.runs), "--to", "mlflow", "--run", "abc"])
    assert (result.exit_code, "--run names one tracked run" in result.stderr) == (2, True)


def test_a_tracker_that_hangs_is_found_out_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that refuses: a worker that was ended over it has nothing better to tell."""
    monkeypatch.setattr("gradience.mirror.fleet.crew.HUNG_S", 1.0)
    monkeypatch.setattr(sweeping, "PATIENCE_S", 1.0)
    place.record(40)
    place.fault("hang")
    result = place.sync()
    assert result.exit_code == 4
    assert "not tried, as the tracker is down: no answer for" in result.stderr


@pytest.mark.parametrize("fault", ["refused", "hang"])
def test_interrupted_it_leaves_no_process_behind(place: Place, fault: str) -> None:
    """Workers end with their employer, even a killed one, and in any call; what was delivered stays delivered."""
    place.record(3)
    place.fault(fault)
    command = [sys.executable, "-m", "gradience", "sync", str(place.runs), *place.to]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: len(children(running.pid)) == 3)
    workers = children(running.pid)
    running.kill()
    running.wait()
    until(lambda: not any(is_alive(pid) for pid in workers))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def is_alive(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def until(done: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.05)
