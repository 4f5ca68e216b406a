"""The fault matrix, killed: recorders and side-cars get kill -9 at random instants, a hundred times each and more."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from gradience.testing import folder
from tests.integrations.faults import kills, recording, seen
from tests.integrations.faults.recording import Recording
from tests.integrations.faults.seen import Account
from tests.integrations.faults.server import Server
from tests.integrations.faults.table import Row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400 + 15 * kills.COUNT),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc"),
]

RUNS: Final = 10
KILLS: Final = 10  # of each run
AT_ONCE: Final = 2
SINK: Final = "gradience.testing.folder:FolderSink"

Kill = Callable[[Path, dict[str, str], int, int, float], Recording]


@pytest.fixture(scope="module")
def killed(tracker: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Recording]"]]:
    """Runs that are mirrored into MLflow, and whose processes are killed; at once, because MLflow starts slowly."""
    sink = {"type": "mlflow", "tracking_uri": tracker.address, "experiment": "kills"}
    place = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor(AT_ONCE, "kill") as pool:
        yield {
            who: pool.submit(kill, place / who, sink, kills.COUNT, 7, 4.0)
            for who, kill in (("recorder", kills.recorders), ("sidecar", kills.sidecars))
        }


def in_folders(kill: Kill, place: Path, latest_s: float) -> list[Recording]:
    """Runs whose processes are killed, each with a tracker of its own."""

    def one(seed: int) -> Recording:
        root = place / f"tracker-{seed}"
        root.mkdir()
        return kill(place / f"run-{seed}", {"type": SINK, "root": str(root)}, KILLS, seed, latest_s)

    with ThreadPoolExecutor(AT_ONCE, "kill") as pool:
        return list(pool.map(one, range(RUNS)))


def total(fault: str, runs: list[Recording]) -> Row:
    """One line of the table for all the runs; and how often a line was delivered that the tracker had already."""
    accounts = [seen.in_folder(run.path, Path(run.sink["root"]), run.run_id) for run in runs]
    again = sum(len(held.deliveries) - len(held.rows) for held in map(tracked, runs))
    sums = {name: sum(getattr(one, name) for one in accounts) for name in Account.__struct_fields__}
    remarks = f"{RUNS * KILLS} kills, {again} lines came again"
    return Row(fault=fault, account=Account(**sums), longest_s=max(run.longest_s for run in runs), remarks=remarks)


def tracked(run: Recording) -> folder.FolderRun:
    """The run in its tracker."""
    return folder.runs(Path(run.sink["root"]))[run.run_id]


def test_recorders_may_be_killed_at_any_instant(tmp_path: Path, matrix: list[Row]) -> None:
    """Each line that was written whole is in the tracker, once, and the run is failed there when nobody resumes it."""
    runs = in_folders(kills.recorders, tmp_path, 0.4)
    row = total("kill -9 of the recorder", runs)
    matrix.append(row)
    assert (row.account.lost, row.account.duplicates) == (0, 0)
    assert [tracked(run).status for run in runs] == ["error"] * RUNS


def test_sidecars_may_be_killed_at_any_instant(tmp_path: Path, matrix: list[Row]) -> None:
    """The next one goes on where the tracker stands, and the training does not notice."""
    runs = in_folders(kills.sidecars, tmp_path, 0.5)
    row = total("kill -9 of the side-car", runs)
    matrix.append(row)
    assert (row.account.lost, row.account.duplicates) == (0, 0)
    assert row.longest_s < recording.STALL_S
    assert [tracked(run).status for run in runs] == ["ok"] * RUNS


@pytest.mark.parametrize(("who", "status"), [("recorder", "FAILED"), ("sidecar", "FINISHED")])
def test_kills_leave_a_true_run_in_mlflow(
    killed: dict[str, "Future[Recording]"], tracker: Server, matrix: list[Row], who: str, status: str
) -> None:
    """As in a folder: each point once, one tracked run, and its status tells how it ended."""
    run = killed[who].result()
    held = seen.in_mlflow(seen.sqlite(tracker.database), run.run_id)
    row = run.row(f"kill -9 of the {who}, MLflow", held, remarks=f"{kills.COUNT} kills")
    matrix.append(row)
    assert (row.account.lost, row.account.duplicates, row.account.dead) == (0, 0, 0)
    assert held.statuses == [status]


def test_a_signal_to_the_process_group_ends_training_alone(tracker: Server, tmp_path: Path, matrix: list[Row]) -> None:
    """A scheduler's SIGTERM meets the trainer and its workers; the side-car delivers the rest and goes."""
    sink = {"type": "mlflow", "tracking_uri": tracker.address}
    with recording.recording(tmp_path / "group", sink) as run:
        run.record(500, 0.002)
        os.killpg(os.getpgid(run.process.pid), signal.SIGTERM)
        assert run.process.wait(30) == -signal.SIGTERM
        run.see_off()
        held = seen.in_mlflow(seen.sqlite(tracker.database), run.run_id)
        row = run.row("SIGTERM to the process group", held)
    matrix.append(row)
    assert (row.account.lost, row.account.duplicates, row.account.dead) == (0, 0, 0)
    assert held.statuses == ["FAILED"]
