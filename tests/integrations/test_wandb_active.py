"""Tests of `gradience_wandb.active`, with stand-ins for wandb and its run; real ones are met by what uses it."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from gradience_wandb import WandbSink, active


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A live run, online."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    run = SimpleNamespace(id="u1", project="sft", entity="me", group="tries", offline=False, disabled=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
    return run


def test_without_wandb_nothing_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where it is only imported, or disabled; and it is not imported for that."""
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert (active.options(), active.mode(), WandbSink().in_process(None)) == ({}, None, False)
    assert "wandb" not in sys.modules
    for run in (None, SimpleNamespace(disabled=True)):
        monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
        assert active.options() == {}


def test_a_run_of_ours_is_led_beside_the_live_one(live: Any) -> None:
    """Into its project and group, in its mode, which only its code may say."""
    place = {"project": "sft", "entity": "me", "group": "tries", "mode": "online"}
    assert active.options() == {**place, "beside": "me/sft/u1"}
    live.entity, live.group, live.offline = "", None, True
    assert active.options() == {"project": "sft", "beside": "u1", "mode": "offline"}


@pytest.mark.parametrize(
    ("wish", "tracked", "meant"),
    [
        ({}, None, True),
        ({}, "me/sft/u1", True),
        ({}, "me/sft/another", False),
        ({"run": "u1"}, None, True),
        ({"run": "sft/u1"}, None, True),
        ({"run": "1"}, None, False),
        ({"project": "sft", "entity": "me"}, None, True),
        ({"project": "another"}, None, False),
        ({"entity": "another"}, None, False),
    ],
)
def test_the_live_run_is_meant_unless_another_is(
    live: Any, wish: dict[str, str], tracked: str | None, meant: bool
) -> None:
    """By what was named, and by where the journal is tracked already."""
    assert live.id == "u1"
    assert WandbSink(**wish).in_process(tracked) is meant  # type: ignore[arg-type]


def test_offline_the_id_alone_is_known(live: Any) -> None:
    """A live run that is offline has no entity yet."""
    live.entity, live.offline = "", True
    assert WandbSink(run="me/sft/u1", entity="me").in_process("u1")
    assert not WandbSink(run="me/sft/u2").in_process(None)
