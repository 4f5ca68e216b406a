"""Where `gradience audit` keeps an audit: the options for it, the journal, and the trackers after that."""

import os
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience import references
from gradience.cli import delivery, landing, output, wishes
from gradience.cli.options import together
from gradience.cli.path import A_PATH
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
    click.option("--append", type=A_PATH, metavar="JSONL", help="Append the audit to this recorded run."),
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


def journal(place: Fetched, keeping: Keeping) -> landing.Journal | None:
    """The journal that the audit of the adapter at `place` goes to; None where it is not to be kept.

    Raises:
        GradienceError: it cannot be that one, or several could be meant.
    """
    if keeping.append:
        return landing.named(keeping.append)
    if keeping.telemetry:
        return landing.at(keeping.telemetry)
    # A place that is not there is the audit's to refuse.
    if not keeping.is_mirrored or not os.access(place.folder, os.F_OK):
        return None
    return landing.beside(place.folder) if place.is_local else landing.apart(place.shown)


def deliver(landed: landing.Landed, keeping: Keeping, place: Fetched) -> list[delivery.Delivered]:
    """Say where the audit is, and mirror its run into the trackers."""
    what = "Appended the audit to" if landed.added else "The same audit of this adapter is already in"
    output.talk(f"{what} {plain(landed.path)} (run {plain(landed.run_id)})")
    request = delivery.Request(wishes=keeping.wishes, deadline_s=keeping.deadline, runs=place.runs)
    return delivery.deliver(landed.path, landed.run_id, request)


def told(landed: landing.Landed | None, delivered: list[delivery.Delivered]) -> dict[str, Any]:
    """Where the audit is, for the JSON document."""
    where = {} if landed is None else {"journal": str(landed.path), "run_id": landed.run_id, "added": landed.added}
    return {**where, **({"trackers": msgspec.to_builtins(delivered)} if delivered else {})}
