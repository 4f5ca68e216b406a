"""The fault matrix of W&B, killed: recorders and side-cars get kill -9 at random instants, `KILLS` times."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import pytest

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


class Killed(msgspec.Struct, frozen=True):
    """A run whose processes were killed, the service that has it, and each wandb-core that is left."""

    run: Recording
    service: Server
    orphans: list[int]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Killed]"]]:
    """Runs whose processes are killed, each with a service of its own; at once, because they mostly wait."""
    place = tmp_path_factory.mktemp("wandb-killed")

    def one(who: str) -> Killed:
        home = place / f"{who}-home"
        home.mkdir()
        with server.serving() as service:
            run = KINDS[who](place / who, SINK, kills.COUNT, 7, LATEST_S, pause_s=PAUSE_S, env=service.env(home))
            recording.until(lambda: not cores(home), GONE_S, must=False)
            return Killed(run, service, cores(home))

    with ThreadPoolExecutor(len(KINDS), "wandb-kill") as pool:
        yield {who: pool.submit(one, who) for who in KINDS}


@pytest.mark.parametrize("who", KINDS)
def test_kills_leave_a_true_run_in_wandb(killed: dict[str, "Future[Killed]"], matrix: list[Row], who: str) -> None:
    """Each line that was written whole has its row, once, in one run; its state tells how it ended."""
    outcome = killed[who].result()
    run, runs = outcome.run, outcome.service.runs
    assert runs.keys() == {run.run_id}
    held = runs[run.run_id]
    again = held.sent.total() - len(held.lines)
    remarks = f"{kills.COUNT} kills, {again} rows came again"
    row = run.told(f"kill -9 of the {who}, W&B", seen.in_wandb(run.path, run.state, held), remarks=remarks)
    matrix.append(row)
    assert (row.account.lost, row.account.duplicates, row.account.dead) == (0, 0, 0)
    assert held.state == ENDS[who]
    assert row.longest_s < recording.STALL_S
    assert outcome.orphans == []
