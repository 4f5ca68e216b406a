import os
from pathlib import Path

import pytest

from gradience.cli import delivery
from gradience.cli.delivery import Request
from gradience.errors import InputError
from gradience.mirror import inhouse
from gradience.mirror.cursor import Delivery
from gradience.mirror.sync import sync
from gradience.mirror.wish import Wish
from gradience.testing import samples
from gradience.testing.folder import FolderSink, runs


class HomeSink(FolderSink):
    """A sink that attaches to a run of this process, told by the environment."""

    name = "home"

    def in_process(self, tracked: str | None) -> bool:
        """Whether such a run is live, and meant."""
        return "HOME_RUN" in os.environ and tracked in (None, os.environ["HOME_RUN"])


NAME = f"{HomeSink.__module__}:{HomeSink.__qualname__}"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 3))


@pytest.fixture
def tracker(tmp_path: Path) -> Path:
    return tmp_path / "tracker"


def test_what_lives_here_is_delivered_from_here(journal: Path, tracker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process can reach it; and the environment of this one stays as it is, since it is not the sink's."""
    monkeypatch.setenv("HOME_RUN", "live")
    monkeypatch.delenv("GRADIENCE_FOLDER_SINK", raising=False)  # a test of `sync` in this process may have left it
    request = Request(wishes=(Wish(type=NAME, options={"tracking_uri": str(tracker)}),), deadline_s=5)
    (delivered,) = delivery.deliver(journal, "r", request)
    assert delivered.up_to_date
    assert {one.pid for one in runs(tracker)["r"].deliveries} == {os.getpid()}
    assert "GRADIENCE_FOLDER_SINK" not in os.environ


def test_where_nothing_is_live_another_process_delivers(journal: Path, tracker: Path) -> None:
    """A tracker's library stays out of this one, as ever."""
    assert not inhouse.is_home(HomeSink(root=str(tracker)), journal, "r")
    assert not inhouse.is_home(FolderSink(root=str(tracker)), journal, "r")


def test_a_run_that_is_tracked_already_stays_where_it_is(
    journal: Path, tracker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else that is live here by now, in a notebook, say, is not what its lines went to."""
    sink = HomeSink(root=str(tracker))
    sync(journal, sink)
    monkeypatch.setenv("HOME_RUN", "another")
    assert not inhouse.is_home(sink, journal, "r")
    assert inhouse.is_home(sink, journal, "a run of no cursor")
    monkeypatch.setenv("HOME_RUN", "r")
    assert inhouse.is_home(sink, journal, "r")


def test_where_another_sink_tracks_a_run_says_nothing(
    journal: Path, tracker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own run; the live one is still free to be attached to."""
    sync(journal, FolderSink(root=str(tracker)))
    monkeypatch.setenv("HOME_RUN", "live")
    assert inhouse.is_home(HomeSink(root=str(tracker)), journal, "r")


def test_a_call_that_hangs_is_left_behind(journal: Path, tracker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that does not answer costs a notebook the deadline, not the evening."""
    tracker.mkdir()
    (tracker / "fault").write_text("hang")
    monkeypatch.setattr(inhouse, "OVERTIME_S", 0.1)
    outcome = inhouse.deliver(journal, HomeSink(root=str(tracker)), 0.1)
    assert (outcome.state, outcome.error) == (Delivery.UNAVAILABLE, "no answer within 0 s")


def test_what_cannot_be_used_is_said_as_ever(tmp_path: Path) -> None:
    """An error reaches the caller, not only the thread."""
    with pytest.raises(InputError, match=r"no\.jsonl"):
        inhouse.deliver(tmp_path / "no.jsonl", HomeSink(root=str(tmp_path)), 1)
