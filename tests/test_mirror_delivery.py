"""Delivery after any sequence of failures: each line in the tracker once, or in the dead letters."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.mirror import deadletters, drain
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.pace import Pace
from gradience.testing import Fault, Killed, MemorySink, MemoryTracker, samples
from gradience.vnext.record import Record

FAULTS = st.lists(st.sampled_from(Fault), max_size=12)
LINES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 6), st.sampled_from(["step", "poison", "torn", "late"])),
    min_size=1,
    max_size=5,
)
ROUNDS = st.lists(st.tuples(LINES, FAULTS, st.sampled_from(["keep", "lose", "corrupt"])), min_size=1, max_size=5)


def written(run_id: str, count: int, kind: str) -> list[bytes]:
    if kind == "torn":
        return [b'{"schema": "gradience.vnext\n'] * count
    event = "of_a_later_version" if kind == "late" else "train_step"
    return [samples.line(run_id, event, step=number, **{f"is_{kind}": 1}) for number in range(count)]


def is_poison(record: Record) -> bool:
    return b'"is_poison"' in record.raw


class Life:
    """One journal and its tracker, through drains that fail, die and forget."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.jsonl"
        self.tracker = MemoryTracker(rejects=is_poison)
        self.buried: dict[int, str] = {}

    @property
    def store(self) -> CursorFile:
        """Where the cursor is kept."""
        return CursorFile(self.path, "memory", "memory:")

    def drain(self, faults: list[Fault]) -> Delivery | None:
        """None when the drain was killed. Calls beyond the faults succeed."""
        now = [0.0]
        pace = Pace(deadline_s=20, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
        self.tracker.faults.extend(faults)
        outcome = None
        with contextlib.suppress(Killed):
            outcome = drain.drain(self.path, MemorySink(self.tracker), self.store, pace).state
        self.tracker.faults.clear()
        self.buried |= {letter.line: letter.raw for letter in deadletters.read(self.store.dead_letters)}
        return outcome

    def damage(self, how: str) -> None:
        """What happens to the state folder before the next drain."""
        if how == "lose":
            shutil.rmtree(self.store.path.parent)
        if how == "corrupt" and self.store.path.exists():
            self.store.path.write_bytes(b"{")

    def check(self) -> None:
        """Every event is delivered or buried; poison always is, and torn lines are neither."""
        held = {line: raw for run in self.tracker.runs.values() for line, raw in run.rows.items()}
        assert self.tracker.complaints == []
        assert sum(len(run.rows) for run in self.tracker.runs.values()) == len(held)
        for number, raw in enumerate(self.path.read_bytes().splitlines(keepends=True), start=1):
            if b'"event"' not in raw:
                assert number not in held
                continue
            assert number in held or number in self.buried
            assert held.get(number, raw) == raw
            assert self.buried.get(number, raw.decode().rstrip("\n")) == raw.decode().rstrip("\n")
            assert not (number in held and b'"is_poison"' in raw)


@pytest.mark.slow
@settings(max_examples=100)
@given(ROUNDS)
def test_every_line_arrives_once_or_lies_in_the_dead_letters(
    rounds: list[tuple[list[tuple[str, int, str]], list[Fault], str]],
) -> None:
    """Outages, lost replies, deaths before and after the write, rejected events, a lost or corrupt state folder."""
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for lines, faults, damage in rounds:
            samples.write(life.path, [line for part in lines for line in written(*part)])
            life.drain(faults)
            life.damage(damage)
        assert life.drain([]) is Delivery.UP_TO_DATE
        life.check()
        assert life.drain([]) is Delivery.UP_TO_DATE
        life.check()
