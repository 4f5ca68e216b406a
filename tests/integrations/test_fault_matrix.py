"""The fault matrix, over HTTP: a live run whose tracker stops answering in every way that a tracker can.

The recordings of the selected faults run side by side, because they mostly wait.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.integrations.faults import stories
from tests.integrations.faults.recording import GROWTH_KIB, SLACK_S, STALL_S
from tests.integrations.faults.server import Server
from tests.integrations.faults.stories import OUTAGES, PARKED, STORIES, Told
from tests.integrations.faults.table import Row

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

AT_ONCE: Final = 5
CLOSE_S: Final = 3.0


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, tracker: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[Told]"]]:
    """What becomes of the recordings that the selected tests are about; all are under way."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    names = [param["story"] for param in params if "story" in param]
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(AT_ONCE, "fault") as pool:
        yield {name: pool.submit(STORIES[name], tracker, folder / name) for name in names}


def complete(told: Told) -> bool:
    """Whether each line is in the tracker, once, and training did not wait for that."""
    account = told.row.account
    return (account.lost, account.duplicates, account.dead) == (0, 0, 0) and told.row.longest_s < STALL_S


@pytest.mark.parametrize("story", OUTAGES)
def test_an_outage_costs_neither_lines_nor_time(told: dict[str, "Future[Told]"], matrix: list[Row], story: str) -> None:
    """Training goes on, closing says what is behind, and the side-car delivers it all once the tracker is back."""
    outcome = told[story].result()
    matrix.append(outcome.row)
    assert complete(outcome)
    assert outcome.behind == 0
    assert outcome.row.close_s is not None
    assert outcome.row.close_s < CLOSE_S + SLACK_S
    assert outcome.row.grown_kib is not None
    assert outcome.row.grown_kib < GROWTH_KIB
    assert "lines behind" in outcome.said
    assert "catch up with: gradience sync" in outcome.said


@pytest.mark.parametrize("story", PARKED)
def test_what_only_a_person_can_mend_waits_for_one(
    told: dict[str, "Future[Told]"], matrix: list[Row], story: str
) -> None:
    """The side-car says so and goes, closing does not wait for it, and `sync` brings the rest afterwards."""
    outcome = told[story].result()
    matrix.append(outcome.row)
    assert complete(outcome)
    assert outcome.behind > 0
    assert outcome.synced == 0
    assert outcome.row.close_s is not None
    assert outcome.row.close_s < SLACK_S
    assert outcome.said.count("until this is mended") == 1
    assert f"{outcome.behind} lines behind" in outcome.said


@pytest.mark.parametrize("story", ["creation"])
def test_a_run_whose_creation_was_not_confirmed_is_created_once(
    told: dict[str, "Future[Told]"], matrix: list[Row], story: str
) -> None:
    """The run that the lost answer was about is found, and its lines are not there twice."""
    outcome = told[story].result()
    matrix.append(outcome.row)
    assert complete(outcome)
    assert outcome.behind == 0


def test_a_server_may_be_killed(
    told: dict[str, "Future[Told]"], matrix: list[Row], tracker: Server, tmp_path: Path
) -> None:
    """Its restart is waited out while training goes on."""
    for other in told.values():
        other.exception()  # the others need the server
    outcome = stories.restart(tracker, tmp_path / "restart")
    matrix.append(outcome.row)
    assert complete(outcome)
    assert outcome.behind == 0
    assert outcome.row.grown_kib is not None
    assert outcome.row.grown_kib < GROWTH_KIB
    assert "delivering again" in outcome.said
