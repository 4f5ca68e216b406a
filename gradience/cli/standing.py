"""`gradience sync --status` and `--dry-run`: how trackers stand towards journals, without contacting any."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli import outcome, output
from gradience.cli.request import Request
from gradience.errors import GradienceError, TelemetryError
from gradience.mirror.cursor import Delivery
from gradience.mirror.fleet import standing
from gradience.mirror.fleet.standing import Standing
from gradience.report.plain import plain

_HEAD: Final = ("journal", "sink", "state", "delivered", "lag", "rejected", "updated")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def status(
    journals: Iterable[Path], state_dir: Path | None, name: str | None, requests: Sequence[Request], *, as_json: bool
) -> int:
    """Tell how the targets of the journals stand, all or those of one sink or of requests; the exit code for it."""
    codes, rows = [], []
    for path in journals:
        try:
            found = [request.standing(path) for request in requests] or [
                one for one in standing.standings(path, state_dir) if name in (None, one.sink)
            ]
            if not found and not path.exists():
                raise TelemetryError(f"no such telemetry file: {path}; check the path")
        except GradienceError as error:
            codes.append(outcome.refuse(str(error)))
            continue
        if not found:
            output.talk(f"{plain(path)}: nothing was delivered{f' to {name}' if name else ''} from here yet.")
            codes += [output.BEHIND] if name else []
        rows += found
    codes += [output.BEHIND for one in rows if _is_behind(one)]
    _tell(rows, as_json=as_json)
    return outcome.worst(codes)


def forecast(journals: Iterable[Path], request: Request) -> int:
    """Tell what a delivery would send; the exit code for it."""
    return outcome.worst([_forecast(path, request) for path in journals])


def _forecast(path: Path, request: Request) -> int:
    try:
        one = request.standing(path)
        if request.from_start:
            one = standing.untouched(path, one.sink, one.target)
        else:
            standing.check(path, one.sink, one.target, request.state_dir)
    except GradienceError as error:
        return outcome.refuse(str(error))
    if request.as_json:
        click.echo(msgspec.json.encode(one))
    else:
        _say_forecast(one, request)
    return output.BEHIND if _is_behind(one) else 0


def _say_forecast(one: Standing, request: Request) -> None:
    known = "" if one.updated or request.from_start else "; the tracker is asked first, as there is no cursor here"
    what = f"{one.behind} lines to send, from line {one.line + 1}{known}" if one.behind else "up to date"
    output.lines(f"{plain(one.journal)} -> {request.label}: {what}")
    _say_runs(one)


def _tell(rows: Sequence[Standing], *, as_json: bool) -> None:
    if as_json:
        for one in rows:
            click.echo(msgspec.json.encode(one))
        return
    table = [_HEAD, *map(_cells, rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    texts = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table]
    for text in texts[:1]:
        output.lines(text)
    for text, one in zip(texts[1:], rows, strict=True):
        output.lines(text)
        _say_details(one)


def _cells(one: Standing) -> tuple[str, ...]:
    return (
        plain(one.journal),
        plain(one.sink),
        one.state.value.replace("_", " "),
        f"{one.line} of {one.lines}",
        _lag(one),
        str(one.dead_letters),
        f"{_span(time.time() - one.updated)} ago" if one.updated else "never",
    )


def _lag(one: Standing) -> str:
    lines = f"{one.behind} line{'' if one.behind == 1 else 's'}"
    return "-" if not one.behind else lines if one.lag_s is None else f"{lines}, {_span(one.lag_s)}"


def _say_details(one: Standing) -> None:
    output.lines(f"  to {plain(one.target)}" + (f", being delivered by {plain(one.holder)}" if one.holder else ""))
    _say_runs(one)
    if one.error:
        output.lines(f"  last error: {plain(one.error)}")


def _say_runs(one: Standing) -> None:
    for run_id, tracked in one.runs.items():
        output.lines(f"  {plain(run_id)}: {output.place(tracked)}")


def _is_behind(one: Standing) -> bool:
    return one.behind > 0 or one.state is not Delivery.UP_TO_DATE


def _span(seconds: float) -> str:
    """A time as a person says it: its largest unit."""
    unit = next(((size, name) for size, name in _UNITS if seconds >= size), (1, "s"))
    return f"{max(seconds, 0.0) / unit[0]:.0f} {unit[1]}"
