"""Tests of `gradience_wandb.adoption`, with a stand-in for W&B's API; the real one is met in `test_wandb_guests`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("wandb")

from gradience_wandb import adoption

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Run

POSITION = "3:0123456789ab"


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run of an audit, in a training's output directory."""
    monkeypatch.chdir(tmp_path)
    return Run(run_id="r", journal=str(tmp_path / "out" / "run.jsonl"), started=0.0)


def _candidate(run_id: str, user: str | None = "me", **config: Any) -> Any:
    who = SimpleNamespace(username=user) if user else None
    return SimpleNamespace(path=["me", "sft", run_id], name=run_id, config=config, user=who)


def _adopted(run: Run, *candidates: Any) -> str | None:
    api = SimpleNamespace(viewer=SimpleNamespace(username="me"), runs=lambda *_, **__: candidates)
    return adoption.online(api, ["me/sft"], run)


@pytest.mark.parametrize("user", ["colleague", None])
def test_a_relative_directory_is_that_of_its_own_user(audit: Run, user: str | None) -> None:
    """`out` is in everybody's scripts: the run of a colleague is never touched for it."""
    assert _adopted(audit, _candidate("u1", output_dir="out")) == "me/sft/u1"
    assert _adopted(audit, _candidate("u1", user, output_dir="out")) is None


def test_an_absolute_directory_says_enough(audit: Run, tmp_path: Path) -> None:
    """Whoever trained there; another one, or none, says nothing."""
    assert _adopted(audit, _candidate("u1", "colleague", output_dir=str(tmp_path / "out"))) == "me/sft/u1"
    for config in ({"output_dir": str(tmp_path / "another/out")}, {"output_dir": ""}, {"output_dir": 7}, {}):
        assert _adopted(audit, _candidate("u1", **config)) is None


@pytest.mark.parametrize("ours", [{"cursors": {"r": POSITION}}, {"run_id": "r"}])
def test_the_run_that_an_earlier_audit_went_to_is_taken_again(audit: Run, ours: dict[str, Any]) -> None:
    """Also where a second one fits by now, and where the directory has moved; a run that we made is found by its id."""
    second = _candidate("u2", output_dir="out")
    assert _adopted(audit, second, _candidate("u1", output_dir="elsewhere", gradience=ours)) == "me/sft/u1"
    made = _candidate("u3", output_dir="elsewhere", gradience={**ours, "created_by": "gradience"})
    assert _adopted(audit, second, made) == "me/sft/u2"


def test_of_several_none_is_guessed(audit: Run) -> None:
    """They are listed."""
    with pytest.raises(
        TargetGoneError, match=r"name the right run with --run: 2 in W&B logged output_dir .*: me/sft/u1"
    ):
        _adopted(audit, _candidate("u1", output_dir="out"), _candidate("u2", output_dir="out"))
