"""What a tracker shows of a run, and how that compares to what was appended."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.errors import TelemetryError
from gradience.mirror import deadletters
from gradience.testing import folder
from gradience.vnext import codec, journal
from gradience.vnext.types import AnyEvent, RunEnd, RunStart, TrainStep

Query = Callable[[str], Iterable[tuple[Any, ...]]]

_TAGGED: Final = "JOIN tags t ON t.run_uuid = {0}.run_uuid AND t.key = 'gradience.run_id'"
_STEPS: Final = (
    f"SELECT t.value, m.step, COUNT(*) FROM metrics m {_TAGGED.format('m')} "  # noqa: S608 - nothing foreign in it
    "WHERE m.key = 'train/loss' GROUP BY t.value, m.step"
)
_RUNS: Final = f"SELECT t.value, r.status FROM runs r {_TAGGED.format('r')}"  # noqa: S608
_PARAMS: Final = f"SELECT t.value, p.value FROM params p {_TAGGED.format('p')} WHERE p.key = 'model_name'"  # noqa: S608


class Seen(msgspec.Struct, frozen=True):
    """One run as a tracker shows it: each step's points, whether its config is there, and each tracked run's status."""

    steps: dict[int, int]
    configured: bool
    statuses: list[str]


class Account(msgspec.Struct, frozen=True):
    """Appended lines against the tracker: every one is seen once, or lies in the dead letters, or is lost."""

    appended: int
    seen: int
    duplicates: int
    dead: int

    @property
    def lost(self) -> int:
        """Lines that are nowhere."""
        return self.appended - self.seen - self.dead


def in_mlflow(query: Query, run_id: str) -> Seen:
    """A run in a database of MLflow's."""
    return Seen(
        steps={step: count for owner, step, count in query(_STEPS) if owner == run_id},
        configured=any(owner == run_id for owner, _ in query(_PARAMS)),
        statuses=[status for owner, status in query(_RUNS) if owner == run_id],
    )


def sqlite(database: Path) -> Query:
    """Questions to an sqlite store, which may be busy."""

    def ask(text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as store:
            return list(store.execute(text))

    return ask


def account(path: Path, state: Path, seen: Seen) -> Account:
    """Compare a journal with what is seen of its one run.

    Each step has a number of its own; a start is seen by the run's config, an end by its status.
    """
    events = appended(path)
    steps = Counter(event.step for event in events if isinstance(event, TrainStep))
    starts = sum(isinstance(event, RunStart) for event in events)
    ends = sum(isinstance(event, RunEnd) for event in events)
    ended = any(status != "RUNNING" for status in seen.statuses)
    strange = sum(count for step, count in seen.steps.items() if step not in steps)
    return Account(
        appended=len(events),
        seen=sum(step in seen.steps for step in steps) + starts * seen.configured + ends * ended,
        duplicates=sum(count - 1 for count in seen.steps.values()) + strange + len(seen.statuses) - 1,
        dead=_dead(state),
    )


def in_folder(path: Path, root: Path, run_id: str) -> Account:
    """Compare a journal with the tracker of tests, which keeps lines by their number: twice is once.

    A line that it holds otherwise than it stands in the journal is taken for one that shows twice.
    """
    lines = {line.number: line.raw.decode() for line in journal.read(path) if _event(line.raw) is not None}
    rows = folder.runs(root)[run_id].rows
    same = sum(rows.get(number) == raw for number, raw in lines.items())
    return Account(appended=len(lines), seen=same, duplicates=len(rows) - same, dead=0)


def in_wandb(path: Path, state: Path, rows: Mapping[int, list[dict[str, Any]]]) -> Account:
    """Compare a journal with the rows of a run in W&B by step, where a line is the row whose step is its number.

    A row of another step, or of a loss that its line has not, is taken for one that shows twice.
    """
    lines = {line.number: event for line in journal.read(path) if (event := _event(line.raw)) is not None}
    strange = [step for step, found in rows.items() if step not in lines or not _tells(found[0], lines[step])]
    return Account(
        appended=len(lines),
        seen=len(lines.keys() & rows.keys()),
        duplicates=sum(len(found) - 1 for found in rows.values()) + len(strange),
        dead=_dead(state),
    )


def appended(path: Path) -> list[AnyEvent]:
    """The events of a journal's complete lines."""
    return [event for line in journal.read(path) if (event := _event(line.raw)) is not None]


def _tells(row: Mapping[str, Any], event: AnyEvent) -> bool:
    return not isinstance(event, TrainStep) or row.get("train/loss") == event.loss


def _dead(state: Path) -> int:
    return sum(len(deadletters.read(letters)) for letters in state.glob("*.dead.jsonl"))


def _event(raw: bytes) -> Any:
    try:
        return codec.decode(raw)
    except TelemetryError:
        return None
