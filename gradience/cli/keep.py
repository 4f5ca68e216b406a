"""Where a command keeps what it found out about an adapter: the options for it, its journal, and then the trackers.

journal = keep.journal(place, keeping)
landed = landing.land(journal, note)        a `Note`: what was found, as entries of a journal
delivered = keep.deliver(landed, keeping, place, what="audit")
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience import references
from gradience.cli import delivery, journals, output, wishes
from gradience.cli.journals import Journal
from gradience.cli.landing import Landed
from gradience.cli.options import together
from gradience.cli.path import A_PATH
from gradience.errors import InputError
from gradience.mirror import catchup, config
from gradience.mirror.wish import Wish
from gradience.references import Fetched
from gradience.report.plain import plain

DEADLINE_S: Final = 60.0


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """A field for each option."""

    append: Path | None
    telemetry: Path | None
    log_to: tuple[str, ...]
    sinks: Path | None
    run: str | None
    experiment: str | None
    tracking_uri: str | None
    project: str | None
    entity: str | None
    deadline: float
    strict: bool

    @property
    def is_mirrored(self) -> bool:
        """Whether trackers are to hear of it."""
        return bool(self.log_to or self.sinks)

    @property
    def options(self) -> dict[str, str]:
        """What was said about the trackers that are named."""
        given = {name: getattr(self, name) for name in catchup.TYPED}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """What is asked of the trackers."""
        if self.sinks is not None:
            return config.load(self.sinks).wishes
        return tuple(wishes.named(name, self.options) for name in dict.fromkeys(self.log_to))


options: Final = together(
    click.option("--append", type=A_PATH, metavar="JSONL", help="Add what is found to this recorded run."),
    click.option("--telemetry", type=A_PATH, metavar="JSONL", help="As --append, but make the file if need be."),
    click.option("--log-to", multiple=True, metavar="NAME", help="Mirror the run into this tracker; may be repeated."),
    click.option("--sinks", type=A_PATH, metavar="FILE", help=f"Or into several. {wishes.SINKS_HELP}"),
    click.option("--run", metavar="ID", help="The tracked run to use, as the tracker calls it."),
    click.option("--experiment", metavar="NAME", help="Where a new tracked run goes."),
    click.option("--project", metavar="NAME", help="The same, where the tracker calls it a project."),
    click.option("--entity", metavar="NAME", help="Whose project it is."),
    click.option("--tracking-uri", metavar="URI", help="The tracker's address."),
    click.option("--deadline", type=click.FloatRange(0), default=DEADLINE_S, show_default=True, metavar="SECONDS"),
    click.option("--strict", is_flag=True, help="Exit with 4 if a tracker is behind at the deadline."),
    title="Where it is kept",
)


def check(keeping: Keeping, *places: str) -> None:
    """Refuse options that do not go together, before any work is done.

    Raises:
        click.UsageError: they do not.
        GradienceError: there is no such tracker, or what is asked of it makes no sense.
    """
    if keeping.append and keeping.telemetry:
        raise click.UsageError("give --append or --telemetry, not both")
    if not keeping.is_mirrored and any(found.is_tracked for found in map(references.parse, places) if found):
        keeping = msgspec.structs.replace(keeping, tracking_uri=None)  # there it says where the adapter is
    if keeping.sinks and keeping.log_to:
        raise click.UsageError("give --log-to or --sinks, not both")
    if keeping.options and not keeping.log_to:
        there = "say that in the file" if keeping.sinks else "give --log-to as well"
        raise click.UsageError(f"{wishes.flags(keeping.options)} says where --log-to goes: {there}")
    for wish in wishes.listed(keeping.sinks) if keeping.sinks else keeping.wishes:
        wish.sink()  # which contacts nobody, and refuses an option that makes no sense


def journal(place: Fetched, keeping: Keeping) -> Journal | None:
    """The journal for what is found of the adapter at `place`; None where it is not to be kept.

    Raises:
        GradienceError: it cannot be that one, or several could be meant.
    """
    if keeping.append:
        return journals.named(keeping.append)
    if keeping.telemetry:
        return journals.at(keeping.telemetry)
    # A place that is not there is the command's to refuse.
    if not keeping.is_mirrored or not os.access(place.folder, os.F_OK):
        return None
    return journals.beside(place.folder) if place.is_local else journals.apart(place.shown)


def recorded(place: Fetched, keeping: Keeping) -> Journal | None:
    """As `journal`; where nothing is said, the journal of the run that trained the adapter, if there is one.

    Raises:
        GradienceError: as `journal`.
    """
    asked = journal(place, keeping)
    if asked is not None or not place.is_local or not os.access(place.folder, os.F_OK):
        return asked
    try:
        found = journals.beside(place.folder)
    except InputError as error:
        output.talk(plain(f"Not recorded: {error}"))
        return None
    if found.run_id is None:
        output.talk("Not recorded: no recorded run in or above the adapter's directory; name one with --append.")
        return None
    return found


def deliver(landed: Landed, keeping: Keeping, place: Fetched, *, what: str) -> list[delivery.Delivered]:
    """Say where it is, `what` being a word for it, and mirror its run into the trackers."""
    done = f"Appended the {what} to" if landed.added else f"The same {what} of this adapter is already in"
    output.talk(f"{done} {plain(landed.path)} (run {plain(landed.run_id)})")
    request = delivery.Request(wishes=keeping.wishes, deadline_s=keeping.deadline, runs=place.runs)
    return delivery.deliver(landed.path, landed.run_id, request)


def told(landed: Landed | None, delivered: list[delivery.Delivered]) -> dict[str, Any]:
    """Where it is, for the JSON document."""
    where = {} if landed is None else {"journal": str(landed.path), "run_id": landed.run_id, "added": landed.added}
    return {**where, **({"trackers": msgspec.to_builtins(delivered)} if delivered else {})}


def enforce(keeping: Keeping, delivered: list[delivery.Delivered]) -> None:
    """End with exit code 4 where --strict asks for it and a tracker is behind."""
    if keeping.strict and not all(one.up_to_date for one in delivered):
        sys.exit(output.BEHIND)
