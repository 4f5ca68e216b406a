from pathlib import Path

import pytest

from gradience.mirror.memory import recall
from gradience.mirror.sync import sync
from gradience.testing import MemorySink, samples


class Led(MemorySink):
    """A sink whose store is the default of some directory, unless it was chosen."""

    def __init__(self, place: str, *, chosen: bool = False) -> None:
        super().__init__()
        self._place = place
        self._chosen = chosen

    @property
    def target(self) -> str:
        """The directory."""
        return self._place

    def at(self, target: str) -> "Led | None":
        """The sink for another one."""
        return None if self._chosen else Led(target, chosen=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 3))


def test_a_default_gives_way_to_the_one_place_that_has_the_journal(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same command from another directory starts no second store, and says where it goes."""
    sync(journal, Led("here"))
    assert recall(journal, Led("elsewhere")).target == "here"
    assert "no place is named" in caplog.text


def test_a_choice_stands(journal: Path) -> None:
    """A store that somebody named is never replaced by one that is remembered."""
    sync(journal, Led("here"))
    assert recall(journal, Led("elsewhere", chosen=True)).target == "elsewhere"


def test_of_two_places_none_is_guessed(journal: Path) -> None:
    """A journal that is mirrored to several targets leaves the default as it is."""
    sync(journal, Led("here", chosen=True))
    sync(journal, Led("there", chosen=True))
    assert recall(journal, Led("elsewhere")).target == "elsewhere"


def test_a_new_journal_goes_where_the_default_is(journal: Path) -> None:
    """Nothing is remembered of a journal that went nowhere yet, nor asked of a sink that cannot be led."""
    sink, plain = Led("here"), MemorySink()
    assert recall(journal, sink) is sink
    assert recall(journal, plain) is plain
