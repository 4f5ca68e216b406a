"""The fault matrix of W&B: a live run whose tracker stops answering in every way that a tracker can.

The recordings of the selected faults run side by side, because they mostly wait.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.integrations.faults.recording import GROWTH_KIB, SLACK_S, STALL_S
from tests.integrations.faults.table import Row
from tests.integrations.faults.wandb_stage import Told
from tests.integrations.faults.wandb_stories import MENDED, OUTAGES, PARKED, POISONED, STORIES

pytest.importorskip("wandb")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc"),
]

AT_ONCE: Final = 10
CLOSE_S: Final = 3.0

Outcomes = dict[str, "Future[Told]"]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What becomes of the recordings that the selected tests are about; all are under way."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {param["wandb_story"] for param in params if "wandb_story" in param}
    folder = tmp_path_factory.mktemp("wandb-faults")
    with ThreadPoolExecutor(AT_ONCE, "wandb-fault") as pool:
        yield {
            name: pool.submit(story, folder / name.replace(" ", "-"))
            for name, story in STORIES.items()
            if name in wanted
        }


def check(told: Told, dead: int = 0) -> None:
    """Each line is there, once, in one run; training did not wait for that, and no wandb-core is left."""
    account = told.row.account
    assert (account.lost, account.duplicates, account.dead, told.runs) == (0, 0, dead, 1)
    assert told.row.longest_s < STALL_S
    assert told.orphans == []


@pytest.mark.parametrize("wandb_story", OUTAGES)
def test_an_outage_costs_neither_lines_nor_time(told: Outcomes, matrix: list[Row], wandb_story: str) -> None:
    """Training goes on, closing says what is behind, and the side-car delivers it all once the tracker is back."""
    outcome = told[wandb_story].result()
    matrix.append(outcome.row)
    check(outcome)
    assert outcome.behind == 0
    assert outcome.row.close_s is not None
    assert outcome.row.close_s < CLOSE_S + SLACK_S
    assert (outcome.row.grown_kib or 0) < GROWTH_KIB
    assert "lines behind" in outcome.said
    assert "catch up with: gradience sync" in outcome.said


@pytest.mark.parametrize("wandb_story", PARKED)
def test_what_only_a_person_can_mend_waits_for_one(told: Outcomes, matrix: list[Row], wandb_story: str) -> None:
    """The side-car says so and goes, closing does not wait for it, and `sync` brings the rest afterwards."""
    outcome = told[wandb_story].result()
    matrix.append(outcome.row)
    check(outcome)
    assert outcome.behind > 0
    assert outcome.synced == 0
    assert outcome.row.close_s is not None
    assert outcome.row.close_s < SLACK_S
    assert outcome.said.count("until this is mended") == 1
    assert f"{outcome.behind} lines behind" in outcome.said


@pytest.mark.parametrize("wandb_story", MENDED)
def test_what_mends_itself_is_delivered_before_the_end(told: Outcomes, matrix: list[Row], wandb_story: str) -> None:
    """Nothing is left to anybody, and the run ends as it did."""
    outcome = told[wandb_story].result()
    matrix.append(outcome.row)
    check(outcome)
    assert outcome.behind == 0
    assert outcome.states == ["finished"]


@pytest.mark.parametrize("wandb_story", POISONED)
def test_a_row_that_is_never_taken_is_set_aside(told: Outcomes, matrix: list[Row], wandb_story: str) -> None:
    """That one alone, with the reason; the lines around it arrive."""
    outcome = told[wandb_story].result()
    matrix.append(outcome.row)
    check(outcome, dead=1)
    assert outcome.behind == 0
    assert outcome.states == ["finished"]
