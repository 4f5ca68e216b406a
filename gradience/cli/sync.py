"""`gradience sync`: catch a tracker up with recorded runs. The process belongs to the sink, whose bounds it takes."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli import output
from gradience.cli.meter import Meter
from gradience.errors import GradienceError
from gradience.mirror import reason, registry
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.sink import Sink
from gradience.mirror.sync import PATIENCE_S, sync
from gradience.mirror.watchdog import Watchdog
from gradience.report.plain import plain

UNUSABLE: Final = 1
HUNG_S: Final = 30.0  # past deadline or patience: longer than any call that a sink's process_env allows


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, the same for every file of the command."""

    name: str
    options: dict[str, str]
    deadline_s: float | None
    from_start: bool
    state_dir: Path | None
    as_json: bool


@click.command()
@click.argument("journals", metavar="RUN.jsonl...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "name", required=True, metavar="NAME", help="The tracker; `gradience sinks` lists them.")
@click.option("--tracking-uri", metavar="URI", help="The tracker's address, if its own environment is not to decide.")
@click.option("--experiment", metavar="NAME", help="Where a run that is not tracked yet is created.")
@click.option("--run", metavar="ID", help="The tracked run to deliver to.")
@click.option("--from-start", is_flag=True, help="Deliver every line again, whatever was delivered before.")
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help=f"Give up after this long; else after {PATIENCE_S:.0f} seconds without progress.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where cursors are kept, instead of beside each file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def command(
    journals: tuple[Path, ...],
    name: str,
    deadline_s: float | None,
    from_start: bool,
    state_dir: Path | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Deliver what a tracker lacks of recorded runs. May be repeated at any time: nothing shows twice."""
    options = {key: value for key, value in given.items() if value is not None}
    factory = registry.find(name)
    if foreign := registry.unknown_options(factory, options):
        raise click.UsageError(f"the sink {name} does not take {', '.join(_flag(key) for key in foreign)}")
    request = Request(
        name=name,
        options=options,
        deadline_s=deadline_s,
        from_start=from_start,
        state_dir=state_dir,
        as_json=as_json,
    )
    codes = {_deliver(path, factory, request) for path in journals}
    sys.exit(next((code for code in (UNUSABLE, output.BEHIND) if code in codes), 0))


def _deliver(path: Path, factory: Callable[..., Sink], request: Request) -> int:
    """Deliver one file, say how that went, and return the exit code it asks for."""
    try:
        outcome = _sync(path, factory(**request.options), request)
    except GradienceError as error:
        output.talk(f"Error: {plain(reason.of(error))}")
        return UNUSABLE
    if request.as_json:
        click.echo(msgspec.json.encode({"journal": str(path), "sink": request.name, **msgspec.to_builtins(outcome)}))
    else:
        _report(path, outcome, request)
    return 0 if outcome.state is Delivery.UP_TO_DATE else output.BEHIND


def _sync(path: Path, sink: Sink, request: Request) -> Outcome:
    os.environ.update(sink.process_env)
    limit_s = HUNG_S + (PATIENCE_S if request.deadline_s is None else request.deadline_s)
    watchdog = Watchdog(limit_s, lambda: _hung(path, limit_s, request))
    meter = Meter(path, request.name)

    def progress(line: int) -> None:
        if request.deadline_s is None:
            watchdog.feed()
        meter.show(line)

    with watchdog, meter:
        return sync(
            path,
            sink,
            deadline_s=request.deadline_s,
            patience_s=PATIENCE_S if request.deadline_s is None else None,
            from_start=request.from_start,
            state_dir=request.state_dir,
            progress=progress,
        )


def _report(path: Path, outcome: Outcome, request: Request) -> None:
    up_to_date = outcome.state is Delivery.UP_TO_DATE
    parts = [f"{outcome.sent} sent", f"{outcome.rejected} rejected"]
    parts += [f"{outcome.skipped} there already"] if outcome.skipped else []
    parts += [f"{outcome.unreadable} unreadable"] if outcome.unreadable else []
    parts += ["up to date" if up_to_date else f"{outcome.behind} behind"]
    output.lines(f"{plain(path)} -> {request.name}: {', '.join(parts)}")
    for run_id, tracked in outcome.runs.items():
        output.lines(f"  {plain(run_id)}: {output.place(tracked)}")
    if not up_to_date:
        why = plain(outcome.error or "the deadline is over")
        output.talk(
            f"Behind: {request.name} lacks {outcome.behind} lines of {plain(path)} ({why}). {_mend(path, request)}"
        )


def _mend(path: Path, request: Request) -> str:
    options = [part for key, value in request.options.items() for part in (_flag(key), reason.safe(value))]
    state = ["--state-dir", str(request.state_dir)] if request.state_dir else []
    return f"Catch up with: {shlex.join(['gradience', 'sync', str(path), '--to', request.name, *options, *state])}"


def _hung(path: Path, limit_s: float, request: Request) -> None:
    output.talk(f"Behind: {request.name} did not answer for {limit_s:.0f} s, given up. {_mend(path, request)}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(output.BEHIND)


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
