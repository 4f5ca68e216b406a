"""What a sink is shown of a journal, and under which names."""

import copy
from pathlib import Path

import msgspec
import pytest

from gradience.mirror import view
from gradience.mirror.selection import LEFT_OUT, Choice, select
from gradience.mirror.sink import Batch, Run, Sink
from gradience.mirror.sync import sync
from gradience.mirror.wish import Wish
from gradience.testing import MemorySink, MemoryTracker, check_sink, samples
from gradience.testing.folder import FolderSink
from gradience.vnext.types import RunStatus

RUN = Run(run_id="r", journal="/r.jsonl", started=0.0)


class Seeing(MemorySink):
    """Keeps the batches, and how long it was given to close."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.closed_within: float | None = None

    def deliver(self, batch: Batch) -> None:
        """Keep it."""
        self.batches.append(batch)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:  # noqa: ARG002
        """Keep the time."""
        self.closed_within = timeout_s

    @property
    def events(self) -> list[str]:
        """The kinds of event that it was shown."""
        return [getattr(record.event, "event", record.event.name) for batch in self.batches for record in batch.records]


def deliver(tmp_path: Path, choice: Choice) -> Seeing:
    """Every kind of event, to a sink with that choice."""
    sink = Seeing()
    sync(samples.write(tmp_path / "run.jsonl", samples.every_event("r")), select(sink, choice))
    return sink


def test_a_line_that_was_not_chosen_is_an_event_that_no_sink_knows(tmp_path: Path) -> None:
    """Numbers and positions stay whole; what the run begins and ends with always passes."""
    sink = deliver(tmp_path, Choice(events=["alert"]))
    out = [LEFT_OUT] * 3
    assert sink.events == ["run_start", *out, "alert", *out, "run_end"]
    (batch,) = sink.batches
    assert [record.line for record in batch.records] == list(range(1, 10))
    assert batch.position.line == 9
    left = batch.records[1]
    assert set(msgspec.json.decode(left.raw)) == {"schema", "ts", "run_id", "event", "step"}
    assert (left.event.run_id, left.event.step, view.points(left), view.tags(left)) == ("r", 1, [], {})


def test_metrics_have_the_names_that_were_chosen(tmp_path: Path) -> None:
    """In points and in tags alike, also when only a later batch is delivered."""
    sink = deliver(tmp_path, Choice(rename={"train/loss": "loss", "alerts/warning": "warnings"}))
    (batch,) = sink.batches
    keys = {point.key for point in view.batch_points(batch)}
    assert {"loss", "warnings", "train/lr"} <= keys
    assert not keys & {"train/loss", "alerts/warning"}
    assert "gradience.nonfinite.loss" in view.batch_tags(batch)
    later = msgspec.structs.replace(batch, nonfinite=frozenset(["train/loss"]))
    assert "gradience.nonfinite.loss" not in view.batch_tags(later)


@pytest.mark.parametrize(("chosen", "seen"), [([], 0), (["of_a_later_version"], 1)])
def test_a_choice_is_meant_as_it_stands(tmp_path: Path, chosen: list[str], seen: int) -> None:
    """None of the events is not all of them; and one of a later version is chosen by its name as well."""
    sink = deliver(tmp_path, Choice(events=chosen))
    assert sink.events.count("of_a_later_version") == seen
    assert len(sink.events) - sink.events.count(LEFT_OUT) == 2 + seen


@pytest.mark.parametrize("chosen_s", [77.0, 0.0])
def test_what_was_chosen_for_the_end_counts(tmp_path: Path, chosen_s: float) -> None:
    """A person may know a tracker that needs longer, or want to wait for none."""
    assert deliver(tmp_path, Choice(close_timeout_s=chosen_s)).closed_within == chosen_s


def test_a_sink_without_a_choice_is_itself() -> None:
    """Nothing stands between."""
    sink = MemorySink()
    assert select(sink, Choice()) is sink
    assert Wish(type="memory", made=sink).sink() is sink


class Moving(FolderSink):
    """May be led elsewhere, and has something of its own."""

    own = "something"

    def at(self, target: str) -> Sink | None:
        """There."""
        return Moving(root=target)


def test_what_only_some_sinks_have_is_passed_on(tmp_path: Path) -> None:
    """And a sink for another target keeps the choice."""
    chosen = select(Moving(root=str(tmp_path)), Choice(events=["alert"]))
    there = chosen.at(str(tmp_path / "x"))  # type: ignore[attr-defined]
    assert (there.target, type(there)) == (str(tmp_path / "x"), type(chosen))
    assert (chosen.own, chosen.name) == ("something", "folder")  # type: ignore[attr-defined]
    assert not hasattr(chosen, "in_process")
    assert not hasattr(select(MemorySink(), Choice(events=[])), "at")


def test_a_sink_with_a_choice_keeps_the_contract() -> None:
    """All of its promises are those of the sink behind it."""
    tracker = MemoryTracker()
    choice = Choice(rename={"train/loss": "x"}, close_timeout_s=1.0)
    check_sink(
        lambda: select(MemorySink(tracker), choice),
        lambda tracked: copy.deepcopy([run for run in tracker.runs.values() if run.id == tracked.id]),
    )


@pytest.mark.parametrize("lines", [1, 4])
def test_lines_are_delivered_in_batches_of_the_size_that_was_chosen(tmp_path: Path, lines: int) -> None:
    """A tracker with small requests gets small ones."""
    sink = Seeing()
    wish = Wish(type="x", made=sink, batch_lines=lines)
    sync(samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 8)), wish.sink(), tempo=wish.tempo())
    assert [len(batch.records) for batch in sink.batches] == [lines] * (8 // lines)
