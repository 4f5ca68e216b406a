"""Mirroring a run into trackers on behalf of another command: each in a process of its own, within a deadline."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Final

import msgspec

from gradience.cli import output
from gradience.mirror import catchup, inhouse, registry
from gradience.mirror.child import in_child
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.sink import Tracked
from gradience.mirror.wish import Wish
from gradience.report.plain import plain

REASON_WIDTH: Final = 200  # characters of a tracker's own words


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Which trackers are to hear of a run.

    `runs` has the tracked run of a sink by its type, where one is meant that nobody named.
    """

    wishes: tuple[Wish, ...]
    deadline_s: float
    runs: Mapping[str, str] = {}

    def meant(self, wish: Wish) -> Wish:
        """A wish with the run that is meant; the file that has the wish does not say so, and leads elsewhere."""
        if wish.type not in self.runs or "run" in wish.options:
            return wish
        return msgspec.structs.replace(wish, options={"run": self.runs[wish.type], **wish.options}, source=None)


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """How one tracker stands now."""

    name: str
    up_to_date: bool
    tracked: Tracked | None
    error: str | None


def deliver(journal: Path, run_id: str, request: Request) -> list[Delivered]:
    """Catch every tracker up with the journal, and say where to look; or what is behind, and what catches up."""
    return [_deliver(journal, run_id, request.meant(wish), request.deadline_s) for wish in request.wishes]


def _deliver(journal: Path, run_id: str, wish: Wish, deadline_s: float) -> Delivered:
    with _overheard() as remarks:
        outcome = _outcome(journal, run_id, wish, deadline_s)
    done = Delivered(
        name=wish.label,
        up_to_date=outcome.state is Delivery.UP_TO_DATE,
        tracked=outcome.runs.get(run_id),
        error=outcome.error,
    )
    # What the child said while it tried in vain is in the outcome's error: one line is enough.
    for remark in remarks if done.up_to_date else []:
        output.talk(plain(remark))
    output.talk(_said(journal, done, outcome, wish))
    return done


def _outcome(journal: Path, run_id: str, wish: Wish, deadline_s: float) -> Outcome:
    """By a process of its own, unless what the sink attaches to lives in this one: a notebook, a training script."""
    if hasattr(registry.find(wish.type), "in_process"):
        sink = wish.sink()
        if inhouse.is_home(sink, journal, run_id):
            return inhouse.deliver(journal, sink, deadline_s, wish.tempo())
    return in_child(journal, wish, deadline_s)


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the mirror logs meanwhile, kept back."""
    remarks: list[str] = []
    logger, handler = logging.getLogger("gradience.mirror"), logging.Handler()
    handler.emit = lambda record: remarks.append(record.getMessage())  # type: ignore[method-assign]
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield remarks
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _said(journal: Path, done: Delivered, outcome: Outcome, wish: Wish) -> str:
    if not done.up_to_date:
        why = shorten(plain(outcome.error or "not done at the deadline"), REASON_WIDTH, placeholder="...")
        mend = plain(catchup.command(journal, wish))
        return f"{plain(done.name)} is behind ({why}). Nothing is lost: catch up with: {mend}"
    where = "up to date" if done.tracked is None else output.place(done.tracked)
    refused = f" ({outcome.rejected} lines were refused)" if outcome.rejected else ""
    return f"{plain(done.name)}: {where}{refused}"
