import copy
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradience.mirror.sink import Batch, Run, Tracked
from gradience.testing import MemorySink, MemoryTracker, check_sink, samples
from gradience.vnext.types import RunStatus


def check(
    kind: Callable[[MemoryTracker], MemorySink],
    *,
    libraries: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
    remembers: bool = True,
) -> None:
    """Run the suite on sinks of one tracker."""
    tracker = MemoryTracker()

    def contents(tracked: Tracked) -> object:
        return copy.deepcopy([run for run in tracker.runs.values() if run.id == tracked.id])

    check_sink(lambda: kind(tracker), contents, libraries=libraries, secrets=secrets, remembers=remembers)


def test_the_memory_sink_passes_its_own_suite() -> None:
    """The double that is shipped keeps every promise."""
    check(MemorySink)


def test_the_suite_covers_every_kind_of_event() -> None:
    """The made-up run has each event once at least, and one of a later version."""
    names = [record.event.name for record in samples.records(samples.every_event("r"))]
    expected = "run_start train_step train_step eval alert metrics recommendation of_a_later_version run_end"
    assert names == expected.split()


def test_a_sink_that_makes_a_run_for_each_open_is_caught() -> None:
    """A run_id maps to one tracked run."""

    class Forking(MemorySink):
        count = itertools.count()

        def open(self, run: Run) -> Tracked:
            super().open(run)
            return Tracked(id=f"fork-{next(self.count)}")

    with pytest.raises(AssertionError, match="opening a run twice led to two tracked runs"):
        check(Forking)


def test_a_sink_that_mixes_runs_is_caught() -> None:
    """Two run_ids never share a tracked run."""

    class Mixing(MemorySink):
        def open(self, run: Run) -> Tracked:
            return Tracked(id="the-only-one", position=super().open(run).position)

    with pytest.raises(AssertionError, match="two runs share one tracked run"):
        check(Mixing)


def test_a_sink_that_duplicates_is_caught() -> None:
    """Delivering a batch again changes nothing."""

    class Piling(MemorySink):
        rows = itertools.count(1000)

        def deliver(self, batch: Batch) -> None:
            super().deliver(batch)
            self.tracker.runs[batch.records[0].event.run_id].rows[next(self.rows)] = b"again"

    with pytest.raises(AssertionError, match="delivering the same lines again"):
        check(Piling)


def test_a_sink_that_forgets_its_position_is_caught() -> None:
    """Without it, a journal that lost its cursor is delivered twice."""

    class Forgetting(MemorySink):
        def open(self, run: Run) -> Tracked:
            return Tracked(id=super().open(run).id)

    with pytest.raises(AssertionError, match="the tracker remembers position None"):
        check(Forgetting)
    check(Forgetting, remembers=False)


def test_a_position_that_no_tracker_keeps_is_caught() -> None:
    """Who says that a tracker has no memory has none: a position would then be of the sink's own making."""
    with pytest.raises(AssertionError, match="not None"):
        check(MemorySink, remembers=False)


def test_a_sink_that_does_nothing_is_caught() -> None:
    """Accepting and dropping is not delivering."""

    class Lazy(MemorySink):
        def deliver(self, batch: Batch) -> None:
            """Drop it."""

    with pytest.raises(AssertionError, match="changed nothing in the tracker"):
        check(Lazy)


def test_a_close_that_raises_is_caught() -> None:
    """The end of a training is no place for an error."""

    class Fragile(MemorySink):
        def close(self, status: RunStatus | None, timeout_s: float) -> None:
            if self._open is None:
                raise RuntimeError("not open")
            super().close(status, timeout_s)

    with pytest.raises(AssertionError, match="closing a sink that was never opened raised RuntimeError"):
        check(Fragile)


def test_credentials_in_a_target_are_caught() -> None:
    """A target is kept in files and shown."""

    class Leaky(MemorySink):
        @property
        def target(self) -> str:
            return "memory:?key=hunter2"

    with pytest.raises(AssertionError, match="shows credentials"):
        check(Leaky, secrets=("hunter2",))


def test_a_library_that_is_imported_before_open_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of sinks, and a refusal, cost no import of a tracker."""
    (tmp_path / "heavy_sink.py").write_text("import wave\nfrom gradience.testing import MemorySink as Heavy\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    class Heavy(MemorySink):
        pass

    Heavy.__module__, Heavy.__qualname__ = "heavy_sink", "Heavy"
    check(Heavy)
    with pytest.raises(AssertionError, match="making a Heavy imports wave: leave that to open"):
        check(Heavy, libraries=("wave",))
