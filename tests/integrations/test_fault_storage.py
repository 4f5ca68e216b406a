"""The fault matrix, at home: disks that are full, folders that are closed, locks and clocks that do not work."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations.faults import places, recording, seen
from tests.integrations.faults.recording import Recording, until
from tests.integrations.faults.seen import Account, Seen
from tests.integrations.faults.server import Server
from tests.integrations.faults.table import Row

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc"),
]

Reckon = Callable[..., Row]


@pytest.fixture
def sink(tracker: Server) -> dict[str, str]:
    """The tracker."""
    return {"type": "mlflow", "tracking_uri": tracker.address}


@pytest.fixture
def held(tracker: Server) -> Callable[[Recording], Seen]:
    """What the tracker shows of a recording."""
    return lambda run: seen.in_mlflow(seen.sqlite(tracker.database), run.run_id)


@pytest.fixture
def reckon(held: Callable[[Recording], Seen], matrix: list[Row]) -> Reckon:
    """Add a recording to the table, and see that each line is in the tracker, once: `reckon(fault, run)`."""

    def add(fault: str, run: Recording, **more: Any) -> Row:
        run.see_off()
        row = run.row(fault, held(run), **more)
        matrix.append(row)
        assert (row.account.lost, row.account.duplicates, row.account.dead) == (0, 0, 0)
        return row

    return add


def delivered(run: Recording) -> bool:
    """Whether the cursor has passed every line."""
    return run.delivered == run.lines()


def test_a_full_disk_for_journal_and_state_costs_what_cannot_be_written(
    tmp_path: Path, sink: dict[str, str], reckon: Reckon
) -> None:
    """Training goes on and is told once; what had been written arrives, and so does what comes after."""
    with places.small(tmp_path / "full-disk") as disk, recording.recording(disk, sink, log=tmp_path) as run:
        run.record(500)
        until(lambda: delivered(run))
        places.fill(disk)
        lost = run.record(2000).lost
        places.drain(disk)
        run.record(500)
        until(lambda: delivered(run))
        close = run.close()
        reckon("disk full, journal and state", run, close_s=close.longest_s, remarks=f"{lost} steps never written")
        assert 0 < lost <= 2000
        assert run.said.count("No space left on device; the run goes on without telemetry") == 1
        assert f"again; {lost} events are lost" in run.said


def test_a_full_disk_for_state_alone_costs_nothing(tmp_path: Path, sink: dict[str, str], reckon: Reckon) -> None:
    """Where no cursor can be saved, the tracker's own memory of its position does; the recorder is not misled."""
    with places.small(tmp_path / "state") as disk:
        order = {"state_dir": str(disk)}
        with recording.recording(tmp_path / "full-state", sink, **order) as run:
            run.record(500)
            until(lambda: delivered(run))
            places.fill(disk)
            run.record(2000, 0.001)
            run.stay(3.0)
            places.drain(disk)
            close = run.close()
            reckon("disk full, state", run, close_s=close.longest_s)


def test_a_folder_that_cannot_be_written_keeps_its_state_elsewhere(
    tmp_path: Path, sink: dict[str, str], reckon: Reckon
) -> None:
    """The XDG state home takes locks, cursors and logs."""
    env = {"XDG_STATE_HOME": str(tmp_path / "xdg")}
    with places.small(tmp_path / "read-only") as disk:
        (disk / "run.jsonl").touch()
        with (
            places.read_only_around(disk / "run.jsonl"),
            recording.recording(tmp_path / "elsewhere", sink, path=disk / "run.jsonl", env=env) as run,
        ):
            run.record(500)
            close = run.close()
            reckon("read-only folder", run, close_s=close.longest_s)


def test_a_file_system_without_locks_is_told_and_used(tmp_path: Path, sink: dict[str, str], reckon: Reckon) -> None:
    """The side-car watches its parent instead."""
    env = places.custom(tmp_path / "site", places.NO_LOCKS)
    with recording.recording(tmp_path / "no-locks", sink, env=env) as run:
        run.record(500)
        until(lambda: delivered(run))
        run.record(500)
        close = run.close()
        reckon("no locks", run, close_s=close.longest_s)
        assert "nothing keeps a second recorder away" in run.said


def test_a_killed_recorder_is_noticed_without_locks(
    tmp_path: Path, sink: dict[str, str], reckon: Reckon, held: Callable[[Recording], Seen]
) -> None:
    """Its side-car is an orphan then, delivers the rest and says that the run failed."""
    env = places.custom(tmp_path / "site", places.NO_LOCKS)
    with recording.recording(tmp_path / "no-locks-killed", sink, env=env) as run:
        run.record(500, 0.001)
        run.let_go()
        reckon("no locks, recorder killed", run)
        assert held(run).statuses == ["FAILED"]


def test_a_clock_that_goes_backwards_disturbs_nothing(tmp_path: Path, sink: dict[str, str], reckon: Reckon) -> None:
    """Lines are told apart by their number, and waiting is done by another clock."""
    env = places.custom(tmp_path / "site", places.BACKWARDS)
    with recording.recording(tmp_path / "backwards", sink, env=env) as run:
        run.record(1000, 0.001)
        until(lambda: delivered(run))
        run.record(500, 0.001)
        close = run.close()
        reckon("clock going backwards", run, close_s=close.longest_s)
        stamps = [event.ts for event in seen.appended(run.path)]
        assert stamps == sorted(stamps, reverse=True)


def test_a_full_disk_for_state_from_beginning_to_end_costs_only_the_good_news(
    tmp_path: Path, sink: dict[str, str], reckon: Reckon
) -> None:
    """Everything arrives; the recorder cannot know, and recommends a `sync` that finds nothing to do."""
    with places.small(tmp_path / "state") as disk:
        places.fill(disk)
        with recording.recording(tmp_path / "no-state", sink, state_dir=str(disk)) as run:
            run.record(2000, 0.001)
            run.stay(5.0)
            close = run.close()
            run.see_off()
            places.drain(disk)
            done = run.sync()
            assert "2002 there already, up to date" in done.stdout
            reckon("disk full, state, throughout", run, close_s=close.longest_s)


def test_a_file_that_is_cut_under_the_side_car_stops_it(
    tmp_path: Path, sink: dict[str, str], held: Callable[[Recording], Seen], matrix: list[Row]
) -> None:
    """What was delivered stays delivered; what comes after waits until a person says that the cut was meant."""
    with recording.recording(tmp_path / "file-cut", sink) as run:
        run.record(1000)
        until(lambda: delivered(run))
        os.truncate(run.path, 0)
        until(lambda: "the file was replaced or truncated" in run.said)
        run.record(1000)
        close = run.close()
        run.see_off()
        assert run.sync().returncode == 1
        assert run.sync("--from-start").returncode == 0
        steps = held(run).steps
        account = Account(appended=2000, seen=len(steps), duplicates=sum(steps.values()) - len(steps), dead=0)
        remarks = "steps alone; `sync --from-start`"
        matrix.append(run.told("telemetry cut", account, close_s=close.longest_s, remarks=remarks))
        assert steps == dict.fromkeys(range(1, 2001), 1)


def test_a_copy_in_the_place_of_the_file_changes_nothing(tmp_path: Path, sink: dict[str, str], reckon: Reckon) -> None:
    """A tool that rewrites a file and renames it leaves one that begins alike; delivery goes on with that."""
    with recording.recording(tmp_path / "copied", sink) as run:
        run.record(1000)
        until(lambda: delivered(run))
        copy = run.path.with_suffix(".copy")
        copy.write_bytes(run.path.read_bytes())
        copy.replace(run.path)
        append_events(run.path, None, [{"event": "train_step", "step": 5000, "loss": 1.0}])
        until(lambda: delivered(run))
        run.let_go()
        reckon("telemetry replaced by a copy", run)


def test_another_file_in_the_place_of_the_file_stops_the_side_car(
    tmp_path: Path, sink: dict[str, str], held: Callable[[Recording], Seen], matrix: list[Row]
) -> None:
    """Nothing of it reaches the run that the first file is tracked as."""
    with recording.recording(tmp_path / "replaced", sink) as run:
        run.record(1000)
        until(lambda: delivered(run))
        other = tmp_path / "other.jsonl"
        with TelemetryWriter(other, run_id=run.run_id) as writer:
            for step in range(6000, 9000):
                writer.train_step(step, loss=1.0)
        other.replace(run.path)
        until(lambda: "lines are not those that were delivered" in run.said)
        close = run.close()
        run.see_off()
        steps = held(run).steps
        account = Account(appended=1000, seen=len(steps), duplicates=sum(steps.values()) - len(steps), dead=0)
        remarks = "steps alone; the other file stays out"
        matrix.append(run.told("telemetry replaced", account, close_s=close.longest_s, remarks=remarks))
        assert steps == dict.fromkeys(range(1, 1001), 1)
