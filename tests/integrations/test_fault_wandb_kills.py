"""The fault matrix of W&B, killed: recorders and side-cars get kill -9 at random instants, `KILLS` times."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.integrations import wandb_files
from tests.integrations.faults import kills, recording, seen
from tests.integrations.faults.recording import Recording
from tests.integrations.faults.table import Row
from tests.integrations.faults.wandb_stage import GONE_S, SINK, cores
from tests.integrations.wandb_double import server
from tests.integrations.wandb_double.server import Server

pytest.importorskip("wandb")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400 + 15 * kills.COUNT),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc"),
]

LATEST_S: Final = 5.0  # a side-car needs seconds until it delivers
PAUSE_S: Final = 0.01  # between two steps: what nobody could deliver meanwhile has to be delivered in the end
KINDS: Final = {"recorder": kills.recorders, "sidecar": kills.sidecars}
ENDS: Final = {"recorder": "failed", "sidecar": "finished"}
EXITS: Final = {"recorder": 1, "sidecar": 0}


class Killed(msgspec.Struct, frozen=True):
    """A run whose processes were killed, the service that may have it, and each wandb-core that is left."""

    run: Recording
    service: Server
    home: Path
    orphans: list[int]

    def row(self, who: str, where: str, rows: Mapping[int, list[dict[str, Any]]], remarks: str) -> Row:
        """Its line of the table; each line is there once, and nothing else is."""
        account = seen.in_wandb(self.run.path, self.run.state, rows)
        row = self.run.told(f"kill -9 of the {who}, {where}", account, remarks=remarks)
        assert (account.lost, account.duplicates, account.dead, self.orphans) == (0, 0, 0, [])
        assert row.longest_s < recording.STALL_S
        return row


Outcomes = dict[tuple[str, str], "Future[Killed]"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Runs whose processes are killed, each with a service of its own; at once, because they mostly wait."""
    place = tmp_path_factory.mktemp("wandb-killed")

    def one(who: str, mode: str) -> Killed:
        folder, home = place / f"{who}-{mode}", place / f"{who}-{mode}-home"
        home.mkdir()
        with server.serving() as service:
            env = {**service.env(home), "WANDB_MODE": mode}
            run = KINDS[who](folder, SINK, kills.COUNT, 7, LATEST_S, pause_s=PAUSE_S, env=env)
            recording.until(lambda: not cores(home), GONE_S, must=False)
            return Killed(run, service, home, cores(home))

    with ThreadPoolExecutor(2 * len(KINDS), "wandb-kill") as pool:
        yield {(who, mode): pool.submit(one, who, mode) for who in KINDS for mode in ("online", "offline")}


@pytest.mark.parametrize("who", KINDS)
def test_kills_leave_a_true_run_in_wandb(killed: Outcomes, matrix: list[Row], who: str) -> None:
    """Each line that was written whole has its row, once, in one run; its state tells how it ended."""
    outcome = killed[who, "online"].result()
    held = outcome.service.runs[outcome.run.run_id]
    again = held.sent.total() - len(held.lines)
    matrix.append(outcome.row(who, "W&B", held.rows, f"{kills.COUNT} kills, {again} rows came again"))
    assert (len(outcome.service.runs), held.state) == (1, ENDS[who])


@pytest.mark.parametrize("who", KINDS)
def test_kills_leave_true_files_of_wandb(killed: Outcomes, matrix: list[Row], who: str) -> None:
    """The same offline: W&B's own reader finds each line once in the files of one run, and its end in the last."""
    outcome = killed[who, "offline"].result()
    held = wandb_files.read(outcome.home)
    remarks = f"{kills.COUNT} kills, {len(wandb_files.logs(outcome.home))} files"
    matrix.append(outcome.row(who, "W&B offline", held.rows, remarks))
    assert held.exits[-1] == EXITS[who]
