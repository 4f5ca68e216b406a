"""Mirroring a run into trackers on behalf of another command: each in a process of its own, within a deadline."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Final

import click
import msgspec

from gradience.cli import output
from gradience.mirror import catchup, inhouse, registry
from gradience.mirror.child import in_child
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.sink import Tracked
from gradience.report.plain import plain

REASON_WIDTH: Final = 200  # characters of a tracker's own words
OPTIONS: Final = ("run", "experiment", "tracking_uri", "project", "entity")  # what a command takes for its sinks


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Which trackers are to hear of a run; `options` are those of the sinks.

    `runs` has the tracked run of a sink by the sink's name, where one is meant that nobody named.
    """

    names: tuple[str, ...]
    options: dict[str, str]
    deadline_s: float
    runs: Mapping[str, str] = {}

    def options_of(self, name: str) -> dict[str, str]:
        """The options of one sink."""
        return {**({"run": self.runs[name]} if name in self.runs else {}), **self.options}


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """How one tracker stands now."""

    name: str
    up_to_date: bool
    tracked: Tracked | None
    error: str | None


def check(request: Request) -> None:
    """Refuse a tracker that is not there, or an option that it does not take, before any work is done.

    Raises:
        GradienceError: no such sink.
        click.UsageError: no such option, or options for no sink.
    """
    if request.options and not request.names:
        raise click.UsageError(
            f"{', '.join(map(_flag, request.options))} says where --log-to goes: give --log-to as well"
        )
    for name in request.names:
        foreign = registry.unknown_options(registry.find(name), dict(request.options))
        if foreign:
            raise click.UsageError(f"the sink {name} does not take {', '.join(map(_flag, foreign))}")


def deliver(journal: Path, run_id: str, request: Request) -> list[Delivered]:
    """Catch every tracker up with the journal, and say where to look; or what is behind, and what catches up."""
    return [_deliver(journal, run_id, name, request) for name in request.names]


def _deliver(journal: Path, run_id: str, name: str, request: Request) -> Delivered:
    with _overheard() as remarks:
        outcome = _outcome(journal, run_id, name, request)
    done = Delivered(
        name=name,
        up_to_date=outcome.state is Delivery.UP_TO_DATE,
        tracked=outcome.runs.get(run_id),
        error=outcome.error,
    )
    # What the child said while it tried in vain is in the outcome's error: one line is enough.
    for remark in remarks if done.up_to_date else []:
        output.talk(plain(remark))
    output.talk(_said(journal, done, outcome, request))
    return done


def _outcome(journal: Path, run_id: str, name: str, request: Request) -> Outcome:
    """By a process of its own, unless what the sink attaches to lives in this one: a notebook, a training script."""
    options = request.options_of(name)
    if hasattr(registry.find(name), "in_process"):
        sink = registry.load(name, **options)
        if inhouse.is_home(sink, journal, run_id):
            return inhouse.deliver(journal, sink, request.deadline_s)
    return in_child(journal, name, options, request.deadline_s)


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


def _said(journal: Path, done: Delivered, outcome: Outcome, request: Request) -> str:
    if not done.up_to_date:
        why = shorten(plain(outcome.error or "not done at the deadline"), REASON_WIDTH, placeholder="...")
        mend = plain(catchup.command(journal, done.name, request.options_of(done.name)))
        return f"{done.name} is behind ({why}). Nothing is lost: catch up with: {mend}"
    where = "up to date" if done.tracked is None else output.place(done.tracked)
    refused = f" ({outcome.rejected} lines were refused)" if outcome.rejected else ""
    return f"{done.name}: {where}{refused}"


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
