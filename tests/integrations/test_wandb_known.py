"""Tests of `gradience_wandb.known`, which needs no wandb: what counts as delivered, as ended, and as ours."""

from typing import Any

import msgspec
import pytest
from gradience_wandb.known import Expected, Known

from gradience.mirror.sink import Position

EXPECTED = Expected(position=Position(5, "f"), row=5, tags=frozenset(["gradience:A"]), configured=1)
MET = Known(
    line=5,
    config={"gradience": {"configured": 1}},
    told={"cursor": str(Position(5, "f"))},
    tags=("mine", "gradience:A"),
)


def test_a_batch_is_delivered_once_all_of_it_is_read_back() -> None:
    """A person's tags and later rows are no obstacle."""
    assert EXPECTED.is_met(MET)
    assert EXPECTED.is_met(msgspec.structs.replace(MET, line=6))


@pytest.mark.parametrize(
    "lack",
    [
        pytest.param({"line": 4}, id="the last row"),
        pytest.param({"told": {"cursor": str(Position(4, "e"))}}, id="the position"),
        pytest.param({"tags": ("mine",)}, id="a tag"),
        pytest.param({"config": {"gradience": {}}}, id="the configuration"),
        pytest.param({"config": {"gradience": "text"}}, id="anything of ours"),
    ],
)
def test_a_batch_that_lacks_anything_is_not(lack: dict[str, Any]) -> None:
    """Each comes by a way of its own, and any may be the last or be lost."""
    assert not EXPECTED.is_met(msgspec.structs.replace(MET, **lack))


def test_a_position_without_its_rows_is_none() -> None:
    """The summary came through, and the rows before it did not: they have to come again."""
    assert MET.position == Position(5, "f")
    assert msgspec.structs.replace(MET, line=4).position is None


@pytest.mark.parametrize("state", ["finished", "failed", "crashed", "killed", "running", "preempting", None])
def test_an_end_is_settled_when_wandb_knows_of_it(state: str | None) -> None:
    """Whatever it calls it; a run that goes on has none to settle."""
    is_over = state in ("finished", "failed", "crashed", "killed")
    assert Known(state=state, told={"status": "ok"}).is_settled is is_over
    assert Known(state=state, told={"status": "running"}).is_settled
    assert Known(state=state).is_settled


@pytest.mark.parametrize(
    ("ours", "run_id"),
    [
        ({"run_id": "r", "created_by": "gradience"}, "r"),
        ({"run_id": "r"}, None),
        ({"run_id": "r", "created_by": "me"}, None),
        ("text", None),
    ],
)
def test_a_run_is_ours_if_we_made_it(ours: object, run_id: str | None) -> None:
    """One that was only given an audit is somebody else's, and is never resumed."""
    assert Known(config={"gradience": ours}).run_id == run_id
