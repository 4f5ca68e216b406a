"""`gradience sync`: catch a tracker up with recorded runs. The process belongs to the sink, whose bounds it takes."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from gradience import child_process
from gradience.cli import following, outcome, output, standing, sweeping, wishes
from gradience.cli.meter import Meter
from gradience.cli.path import A_PATH
from gradience.cli.request import Request
from gradience.errors import GradienceError
from gradience.mirror import child, environment, reason, registry, scrubbed
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet import search
from gradience.mirror.sink import Sink
from gradience.mirror.sync import PATIENCE_S, check, sync
from gradience.mirror.watchdog import Watchdog
from gradience.mirror.wish import Wish
from gradience.report.plain import plain

HUNG_S: Final = 30.0  # past deadline or patience: longer than any call that a sink's process_env allows


@click.command()
@click.argument("places", metavar="RUN.jsonl... | DIR", nargs=-1, required=True, type=A_PATH)
@click.option("--to", "name", metavar="NAME", help="The tracker; `gradience sinks` lists them.")
@click.option("--sinks", "file", type=A_PATH, metavar="FILE", help=f"{wishes.SINKS_HELP} Each is delivered to in turn.")
@click.option(child.WISH_OPTION, "asked", is_flag=True, hidden=True)
@click.option("--tracking-uri", metavar="URI", help="The tracker's address, if its own environment is not to decide.")
@click.option("--experiment", metavar="NAME", help="Where a run that is not tracked yet is created.")
@click.option("--project", metavar="NAME", help="The same, where the tracker calls it a project.")
@click.option("--entity", metavar="NAME", help="Whose project it is.")
@click.option("--run", metavar="ID", help="The tracked run to deliver to.")
@click.option("--from-start", is_flag=True, help="Deliver every line again, whatever was delivered before.")
@click.option("--follow", is_flag=True, help="Stay: deliver what is recorded, new journals too, until SIGTERM.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; contact no tracker.")
@click.option("--status", is_flag=True, help="Say how far each tracker is, from the cursors; contact no tracker.")
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help=f"Give up after this long; else after {PATIENCE_S:.0f} seconds without progress. With --follow: how long "
    f"the end may take ({following.DEADLINE_S:.0f}).",
)
@click.option(
    "--state-dir",
    type=A_PATH,
    help="Where cursors are kept, instead of beside each file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def command(
    places: tuple[Path, ...],
    name: str | None,
    file: Path | None,
    asked: bool,
    deadline_s: float | None,
    from_start: bool,
    follow: bool,
    dry_run: bool,
    status: bool,
    state_dir: Path | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Deliver what a tracker lacks of recorded runs. May be repeated at any time: nothing shows twice.

    Of a directory, every telemetry file in it is meant, however deep.
    """
    if follow + dry_run + status > 1:
        raise click.UsageError("--follow, --dry-run and --status exclude each other")
    wanted = _wanted(name, file, {key: value for key, value in given.items() if value is not None}, asked=asked)
    requests = [
        Request(wish=wish, deadline_s=deadline_s, from_start=from_start, state_dir=state_dir, as_json=as_json)
        for wish in wanted
    ]
    if status:
        only = getattr(registry.find(name), "name", name) if name else None
        sys.exit(standing.status(_journals(places), state_dir, only, requests if file else (), as_json=as_json))
    if not requests:
        raise click.UsageError("Missing option '--to': name the tracker; `gradience sinks` lists them. Or --sinks FILE")
    for request in requests:
        request.sink()  # which contacts nobody, and refuses an option that makes no sense
    if follow:
        sys.exit(_follow(places, requests))
    found = _journals(places)
    if len(found) > 1 and not dry_run and (who := _names_run(requests)):
        raise click.UsageError(f"{who} names one tracked run, and there are several journals: give one of them")
    journals = [path for path in found if _is_usable(path)]
    code = 0 if len(journals) == len(found) else outcome.UNUSABLE
    sys.exit(outcome.worst([code, *_codes(journals, requests, dry_run=dry_run)]))


def _wanted(name: str | None, file: Path | None, options: Mapping[str, str], *, asked: bool) -> Sequence[Wish]:
    if asked:
        return [msgspec.json.decode(child_process.told(), type=Wish)]
    if file is None:
        return [wishes.named(name, options)] if name is not None else []
    if name is not None or options:
        given = "--to" if name is not None else wishes.flags(options)
        raise click.UsageError(f"{given} does not go together with --sinks: the file says where")
    return wishes.listed(file)


def _journals(places: Sequence[Path]) -> tuple[Path, ...]:
    found = search.find(places)
    if found.skipped:
        files = "file that is" if found.skipped == 1 else "files that are"
        output.talk(f"Skipped {found.skipped} .jsonl {files} no telemetry.")
    if not found.journals:
        where = ", ".join(plain(place) for place in places)
        output.talk(f"There is no telemetry in {where}: name the .jsonl of a run, or a folder above it.")
    return found.journals


def _is_usable(path: Path) -> bool:
    """Whether there is a journal that can be read; what is wrong with it is said once, for every tracker."""
    try:
        check(path)
    except GradienceError as error:
        outcome.refuse(reason.of(error))
        return False
    return True


def _follow(places: Sequence[Path], requests: Sequence[Request]) -> int:
    if requests[0].from_start:
        raise click.UsageError("--follow goes on where the tracker stands: do --from-start without it, once")
    if (who := _names_run(requests)) and (len(places) > 1 or places[0].is_dir()):
        raise click.UsageError(f"{who} names one tracked run: give one journal with it")
    return following.follow(places, requests)


def _names_run(requests: Sequence[Request]) -> str | None:
    """What names a tracked run, if anything does."""
    naming = (one.wish for one in requests if "run" in one.wish.options)
    return next((f"`run` in {plain(wish.source)}" if wish.source else "--run" for wish in naming), None)


def _codes(journals: Sequence[Path], requests: Sequence[Request], *, dry_run: bool) -> list[int]:
    """Deliver to every tracker, or say what that would send; the exit code of each."""
    if dry_run:
        return [standing.forecast(journals, request) for request in requests]
    if len(journals) == len(requests) == 1:
        return [_deliver(requests[0], journals[0])]
    # Each tracker's library stays in processes of its own: one that hangs costs the others nothing.
    return [sweeping.sweep(journals, request) for request in requests if journals]


def _deliver(request: Request, path: Path) -> int:
    """Deliver one file, say how that went, and return the exit code it asks for."""
    try:
        return outcome.tell(path, _sync(path, request.sink(), request), request)
    except GradienceError as error:
        return outcome.refuse(reason.of(error))


def _sync(path: Path, sink: Sink, request: Request) -> Outcome:
    environment.enter(sink.process_env)
    limit_s = HUNG_S + (PATIENCE_S if request.deadline_s is None else request.deadline_s)
    watchdog = Watchdog(limit_s, lambda: _hung(path, limit_s, request))
    meter = Meter([path], request.label)

    def progress(line: int) -> None:
        if request.deadline_s is None:
            watchdog.feed()
        meter.show(path, line)

    with watchdog, meter, scrubbed.output():
        return sync(
            path,
            sink,
            tempo=request.wish.tempo(),
            deadline_s=request.deadline_s,
            patience_s=PATIENCE_S if request.deadline_s is None else None,
            from_start=request.from_start,
            state_dir=request.state_dir,
            progress=progress,
        )


def _hung(path: Path, limit_s: float, request: Request) -> None:
    output.talk(f"Behind: {request.label} did not answer for {limit_s:.0f} s, given up. {request.catch_up(path)}")
    sys.stdout.flush()
    sys.stderr.flush()
    child_process.end_children()
    os._exit(output.BEHIND)
