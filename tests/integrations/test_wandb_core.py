"""Tests of `gradience_wandb.core` without one; what it does once it runs is met online and offline."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("wandb")

from gradience_wandb.core import Core
from gradience_wandb.place import OFFLINE, Place

from gradience.errors import TargetGoneError, UnavailableError


@pytest.fixture
def core(tmp_path: Path) -> Core:
    return Core(Place(mode=OFFLINE, server=None, directory=tmp_path))


def test_none_is_begun_where_somebody_elses_run_is_live(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end with ours."""
    monkeypatch.setattr("wandb.run", SimpleNamespace(id="u1"))
    with pytest.raises(TargetGoneError, match="W&B run u1 is active in this process: deliver from another one"):
        core.start()
    assert core.pid is None


def _broken(after_s: float) -> None:
    time.sleep(after_s)
    raise OSError("broken pipe")


def test_what_takes_longer_than_its_limit_has_failed(core: Core) -> None:
    """Whether it fails itself in the end or not; what fails in time says so in its own words."""
    with pytest.raises(UnavailableError, match=r"no answer within 0\.01 s"), core.bounded(0.01, "waiting"):
        time.sleep(0.1)
    with pytest.raises(UnavailableError, match=r"no answer within 0\.01 s"), core.bounded(0.01, "waiting"):
        _broken(0.1)
    with pytest.raises(OSError, match="broken pipe"), core.bounded(5.0, "waiting"):
        _broken(0.0)


def test_a_core_that_never_ran_does_not_run(core: Core) -> None:
    """Nothing is confirmed by it."""
    with pytest.raises(UnavailableError, match="wandb-core has ended"):
        core.check()
