"""How the delivery of one journal went: the result on stdout, what is wrong on stderr, and the exit code of both."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli import output
from gradience.cli.request import Request
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.report.plain import plain

UNUSABLE: Final = 1


def refuse(why: str) -> int:
    """Say why a journal cannot be delivered; the exit code for it."""
    output.talk(f"Error: {plain(why)}")
    return UNUSABLE


def tell(path: Path, outcome: Outcome, request: Request) -> int:
    """Say how the delivery went; the exit code for it."""
    if request.as_json:
        click.echo(msgspec.json.encode({"journal": str(path), "sink": request.label, **msgspec.to_builtins(outcome)}))
    else:
        _report(path, outcome, request)
    return 0 if outcome.state is Delivery.UP_TO_DATE else output.BEHIND


def worst(codes: Iterable[int]) -> int:
    """The exit code of a command from those of its journals."""
    seen = set(codes)
    return next((code for code in (UNUSABLE, output.BEHIND) if code in seen), 0)


def _report(path: Path, outcome: Outcome, request: Request) -> None:
    up_to_date = outcome.state is Delivery.UP_TO_DATE
    parts = [f"{outcome.sent} sent", f"{outcome.rejected} rejected"]
    parts += [f"{outcome.skipped} there already"] if outcome.skipped else []
    parts += [f"{outcome.unreadable} unreadable"] if outcome.unreadable else []
    parts += ["up to date" if up_to_date else f"{outcome.behind} behind"]
    output.lines(f"{plain(path)} -> {request.label}: {', '.join(parts)}")
    for run_id, tracked in outcome.runs.items():
        output.lines(f"  {plain(run_id)}: {output.place(tracked)}")
    if not up_to_date:
        why = plain(outcome.error or "the deadline is over")
        lacks = f"{request.label} lacks {outcome.behind} lines of {plain(path)}"
        output.talk(f"Behind: {lacks} ({why}). {request.catch_up(path)}")
