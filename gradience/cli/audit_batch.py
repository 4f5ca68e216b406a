"""`gradience audit` of several adapters: the options for it, one row each, and one exit code for all."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from gradience import cache_home
from gradience.batch import cache, crew, row
from gradience.batch.crew import Crew
from gradience.batch.work import Order
from gradience.cli import audit_input, audit_view, keep, outcome, output
from gradience.cli.audit_input import Input
from gradience.cli.audit_landings import Landings
from gradience.cli.audit_sheet import Sheet
from gradience.cli.audit_view import View
from gradience.cli.keep import Keeping
from gradience.cli.options import together
from gradience.cli.tally import Tally
from gradience.errors import InputError
from gradience.policy.rule import Policy
from gradience.report.plain import plain


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How several adapters are worked on; a field for each option."""

    jobs: int | None
    parallel_backend: Literal["loky", "dask"]
    address: str | None
    no_cache: bool


options: Final = together(
    click.option("--jobs", type=click.IntRange(1), metavar="N", help="Audit so many adapters at a time."),
    click.option(
        "--parallel-backend",
        type=click.Choice(["loky", "dask"]),
        default="loky",
        show_default=True,
        help="Processes of this machine, or a Dask cluster.",
    ),
    click.option("--address", metavar="tcp://HOST:PORT", help="The scheduler of the Dask cluster."),
    click.option("--no-cache", is_flag=True, help="Measure every adapter again, and keep nothing."),
    title="Several adapters",
)


def run(
    places: Sequence[str],
    asked: Input,
    view: View,
    keeping: Keeping,
    spread: Spread,
    policy: Policy,
    fail_on: str | None,
) -> None:
    """Audit each as if it were alone; what cannot be audited costs its own row and the exit code only."""
    _check(view, keeping, spread)
    keep.check(keeping, *places)
    arguments = audit_input.arguments(asked)
    asked_of_each = Order(
        arguments=arguments,
        tracker=keeping.tracking_uri,
        cache=None if spread.no_cache else _cache(),
        whole=keeping.is_mirrored,
        policy=policy,
        copies=asked.copies,
    )
    sheet, names = Sheet(view, fail_on), row.names(places)
    landings = Landings(keeping, policy, asked.copies)
    with Tally(len(names)) as tally:
        for answer in crew.answers(names, asked_of_each, _crew(spread)):
            if view.format == "jsonl" or keeping.is_mirrored:
                tally.clear()
            sheet.take(landings.land(answer))
            tally.count(answer)
    sheet.show(arguments)
    if sheet.has_refused or landings.has_failed:
        sys.exit(outcome.UNUSABLE)
    output.enforce(sheet.met.values(), fail_on)
    if keeping.strict and landings.is_behind:
        sys.exit(output.BEHIND)


def _check(view: View, keeping: Keeping, spread: Spread) -> None:
    if view.layers or view.glob is not None or view.per_layer:
        raise click.UsageError("several adapters have one row each: leave out what is asked of single modules")
    if view.sort and view.sort.removeprefix("-") not in row.KEYS:
        raise click.UsageError(f"--sort {view.sort} is for the modules of one adapter; one of {', '.join(row.KEYS)}")
    if view.format in audit_view.TABLES and (view.sort or view.top):
        raise click.UsageError(f"--format {view.format} has all rows in no order: leave out --sort and --top-wasteful")
    if keeping.append or keeping.telemetry:
        raise click.UsageError(
            "--append and --telemetry name the journal of one adapter, and a table has several: give one of them, as"
            " text, csv or json; or --log-to, which finds the journal of each"
        )
    if keeping.run:
        raise click.UsageError("--run names one tracked run, and a table has several adapters: give one of them")
    if (spread.parallel_backend == "dask") != (spread.address is not None):
        raise click.UsageError("--parallel-backend dask and --address tcp://HOST:PORT need each other")


def _crew(spread: Spread) -> Crew:
    return Crew(backend=spread.parallel_backend, jobs=spread.jobs, address=spread.address)


def _cache() -> Path | None:
    """Where audits are kept; a folder that somebody named has to be there for it.

    Raises:
        InputError: it cannot be made or written.
    """
    folder = cache_home.folder() / cache.FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK | os.X_OK) else "no permission to write there"
    except OSError as error:
        reason = str(error.strerror)
    if reason is None:
        return folder
    if os.environ.get(cache_home.VARIABLE):
        raise InputError(f"cannot keep audits in {folder}: {reason}; mend {cache_home.VARIABLE}, or give --no-cache")
    output.talk(f"Audits are not kept for another time: {plain(folder)}: {reason}.")
    return None
