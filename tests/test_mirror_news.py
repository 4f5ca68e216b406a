import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gradience.mirror.cursor import Cursor, CursorFile, Delivery, Mark
from gradience.mirror.live import news
from gradience.mirror.live.news import News

HERE = Mark(started=0.0, tracked="t1", url="http://tracker/t1", viewer="tracker ui")


@pytest.fixture(autouse=True)
def _loud(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gradience.mirror")


class Desk:
    """A cursor, and the news that are made of it."""

    def __init__(self, path: Path) -> None:
        self.store = CursorFile(path, "memory", "memory:")
        self.cursor = Cursor(journal=str(path), sink="memory", target="memory:")

    def news(self, *, in_house: bool = False) -> News:
        """News of the run `r`."""
        return News(self.store, "memory", "r", lambda _cursor: "gradience sync", in_house=in_house)

    def change(self, **fields: object) -> None:
        """Save the cursor with other fields, a second later."""
        self.cursor = msgspec.structs.replace(self.cursor, updated=self.cursor.updated + 1, **fields)
        self.store.save(self.cursor)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "run.jsonl")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """What was said since the last call: level and text."""

    def take() -> list[tuple[str, str]]:
        found = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return found

    return take


Said = Callable[[], list[tuple[str, str]]]


def test_the_place_of_this_run_is_said_once(desk: Desk, said: Said) -> None:
    """With what serves it; older runs of the file are nobody's concern now."""
    watcher = desk.news()
    desk.change(runs={"old": HERE})
    watcher.look()
    assert said() == []
    desk.change(runs={"old": HERE, "r": HERE})
    watcher.look()
    watcher.look()
    desk.change(line=2)
    watcher.look()
    assert said() == [("INFO", "memory: this run is at http://tracker/t1 (served by: tracker ui)")]


def test_a_run_that_is_but_a_folder_is_said_with_what_uploads_it(desk: Desk, said: Said) -> None:
    """Nobody can see it there."""
    watcher = desk.news()
    desk.change(runs={"r": Mark(started=0.0, tracked="t1", url="file:///t", upload="carry t1")})
    watcher.look()
    assert said() == [("INFO", "memory: this run is at file:///t (once online: carry t1)")]


def test_an_outage_is_said_once_a_minute_and_its_end_once(
    desk: Desk, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the cursor repeats it."""
    watcher = desk.news()
    for _ in range(3):
        desk.change(state=Delivery.UNAVAILABLE, error="refused")
        watcher.look()
    trouble = ("WARNING", "memory: not delivered, will try again; the recording goes on: refused")
    assert said() == [trouble]
    monkeypatch.setattr(news, "REPEAT_S", 0.0)
    desk.change(state=Delivery.UNAVAILABLE, error="refused")
    watcher.look()
    assert said() == [trouble]
    desk.change(state=Delivery.BEHIND, error=None)
    watcher.look()
    desk.change(state=Delivery.UP_TO_DATE)
    watcher.look()
    assert said() == [("WARNING", "memory: delivering again")]


def test_what_a_person_must_mend_comes_with_the_command(desk: Desk, said: Said) -> None:
    """It is an error: without a person nothing more arrives."""
    watcher = desk.news()
    desk.change(state=Delivery.PARKED, error="no permission")
    watcher.look()
    text = (
        "memory: delivery has stopped until this is mended: no permission. The recording goes on; then catch up with: "
    )
    assert said() == [("ERROR", f"{text}gradience sync")]
    assert watcher.is_parked


def test_what_stood_in_the_cursor_before_is_no_news(desk: Desk, said: Said) -> None:
    """Yesterday's outage may be over; the same words after a new attempt are news again."""
    desk.change(state=Delivery.PARKED, error="no permission")
    watcher = desk.news()
    watcher.look()
    assert said() == []
    desk.change()
    watcher.look()
    assert [level for level, _ in said()] == ["ERROR"]


def test_a_drain_in_this_process_speaks_for_itself(desk: Desk, said: Said) -> None:
    """Its troubles are in the same log already; only the place is news."""
    watcher = desk.news(in_house=True)
    desk.change(state=Delivery.UNAVAILABLE, error="refused", runs={"r": HERE})
    watcher.look()
    assert [level for level, _ in said()] == ["INFO"]


def test_what_is_behind_is_said_with_its_reason_and_the_command(desk: Desk, said: Said) -> None:
    """A drain that goes on may still make it; a parked one will not."""
    watcher = desk.news()
    watcher.say_behind(3)
    text = "memory is 3 lines behind (%s). %scatch up with: gradience sync"
    goes_on = "Delivery goes on for a while; if that is cut short, "
    assert said() == [("WARNING", text % ("not done in time", goes_on))]
    desk.change(state=Delivery.PARKED, error="no permission")
    watcher.look()
    said()
    watcher.say_behind(3)
    assert said() == [("WARNING", text % ("no permission", ""))]
