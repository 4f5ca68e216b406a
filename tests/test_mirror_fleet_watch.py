"""The agenda of a standing service."""

from pathlib import Path

import pytest

from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet.errand import Answer, Done, Errand
from gradience.mirror.fleet.outage import Outage
from gradience.mirror.fleet.watch import Watch
from gradience.testing import samples

DONE = Done(Outcome(state=Delivery.UP_TO_DATE, sent=1))
DOWN = Done(Outcome(state=Delivery.UNAVAILABLE, error="refused"))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    for number in range(6):
        samples.write(tmp_path / f"r{number}.jsonl", samples.steps(f"r{number}", 1, 2))
    return Watch([tmp_path], Outage(3), size=2)


def taken(watch: Watch) -> list[Errand]:
    """Every errand that is to be had now."""
    watch.look()
    found = []
    while (errand := watch.take(0)) is not None:
        found.append(errand)
    return found


def answer(watch: Watch, errands: list[Errand], given: Answer) -> None:
    """All errands end alike."""
    for errand in errands:
        watch.done(errand, given)


def test_each_journal_is_handed_out_once_at_a_time(watch: Watch) -> None:
    """However often one looks."""
    assert len({errand.journal for errand in taken(watch)}) == 6
    assert taken(watch) == []


def test_only_one_worker_stays_at_a_file_while_others_wait(watch: Watch) -> None:
    """Of two, one is always free for the rest."""
    assert sum(errand.linger for errand in taken(watch)) <= 1


def test_in_an_outage_one_journal_is_tried_for_all(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each of them, and after a pause."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    answer(watch, taken(watch), DOWN)
    assert taken(watch) == []
    now[0] = 100.0
    (probe,) = taken(watch)
    answer(watch, [probe], DONE)
    assert len(taken(watch)) == 5


def test_in_a_hurry_an_outage_is_probed_at_once(watch: Watch) -> None:
    """It may be over, and there is not much time."""
    answer(watch, taken(watch), DOWN)
    watch.hurry(30)
    assert len(taken(watch)) == 1
    assert not watch.is_over()


def test_it_is_over_when_everything_is_delivered(watch: Watch) -> None:
    """That was there when it was told to hurry."""
    assert not watch.is_over()
    answer(watch, taken(watch), DONE)
    assert not watch.is_over()
    watch.hurry(30)
    assert watch.is_over()


def test_it_is_over_at_its_deadline(watch: Watch) -> None:
    """Whatever is left."""
    watch.look()
    watch.hurry(0)
    assert watch.is_over()
    assert watch.take(0) is None


def test_a_journal_that_was_deleted_is_forgotten(watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stands for a year does not remember every run."""
    monkeypatch.setattr("gradience.mirror.fleet.watch.SCAN_S", 0.0)
    answer(watch, taken(watch), DONE)
    (tmp_path / "r0.jsonl").unlink()
    watch.look()
    assert len(list(watch)) == 5


def test_a_file_that_was_no_telemetry_is_forgotten_with_its_name(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that another one of the same size is looked into."""
    monkeypatch.setattr("gradience.mirror.fleet.watch.SCAN_S", 0.0)
    path = samples.write(tmp_path / "s.jsonl", samples.steps("s", 1, 1))
    text = path.read_bytes()
    path.write_bytes(b"x" * (len(text) - 1) + b"\n")
    answer(watch, taken(watch), DONE)
    path.unlink()
    watch.look()
    path.write_bytes(text)
    watch.look()
    assert str(path) in {str(watched.path) for watched in watch}
