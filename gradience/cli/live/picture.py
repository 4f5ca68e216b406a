"""A live run as lines of text, for a terminal of any width: pure, so that what draws it has nothing to decide."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec

from gradience.curves.curve import Curve
from gradience.mirror.fleet.standing import Standing
from gradience.policy.replay import Mark
from gradience.report.numbers import MISSING, duration, number
from gradience.report.plain import plain
from gradience.report.sparkline import sparkline
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.types import EvalMetrics, Severity

WIDE: Final = 80
BAR: Final = 24
LABEL: Final = 10
ALERTS_SHOWN: Final = 6
SPLITS_SHOWN: Final = 6
SILENT_S: Final = 10.0  # without a line for this long is worth saying, ...
SILENT_GAPS: Final = 3.0  # ... and for so many times as long as lines lie apart
SPARK: Final = (12, 48)  # signs of a sparkline, on a narrow terminal and at most
CURVES: Final = {"loss": "loss", "lr": "lr", "grad norm": "grad_norm"}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run that is being watched."""

    file: str
    seen: SignalSnapshot
    curves: Mapping[str, Curve] = {}
    marks: Sequence[Mark] = ()
    standings: Sequence[Standing] = ()
    steps_per_s: float | None = None
    left_s: float | None = None
    silent_s: float = 0.0
    gap_s: float = 0.0  # how far lines lie apart in time
    is_there: bool = True
    is_caught_up: bool = True  # everything that was there was read
    replaced: int = 0  # how often another file took its place
    is_abandoned: bool = False  # its recorder is gone, and wrote no end
    encoding: str | None = "utf-8"


class Shown(msgspec.Struct, frozen=True):
    """A line; with the severity that it tells of, if it does."""

    text: str
    severity: Severity | None = None
    is_title: bool = False


def lines(live: Live, width: int) -> list[Shown]:
    """The whole picture, no line wider than `width`."""
    return [msgspec.structs.replace(one, text=_fit(plain(one.text), width)) for one in _lines(live, width)]


def progress(live: Live) -> str:
    """Where the run stands, in words: `step 400 of 600, 2.1 steps/s, 3.2 min left`."""
    planned = planned_steps(live.seen)
    step = "no step yet" if live.seen.last_step is None else f"step {live.seen.last_step}"
    parts = [
        f"{step} of {planned}" if planned and live.seen.last_step is not None else step,
        None if live.steps_per_s is None else f"{number(live.steps_per_s)} steps/s",
        None if live.left_s is None else f"{duration(live.left_s)} left",
    ]
    return ", ".join(part for part in parts if part)


class Condition(Enum):
    """Whether something still comes."""

    WAITING = 1
    RUNNING = 2
    SILENT = 3
    ABANDONED = 4
    ENDED = 5


def condition(live: Live) -> Condition:
    """How it is, now."""
    if not live.is_there:
        return Condition.WAITING
    if live.seen.ended:
        return Condition.ENDED
    if live.silent_s < max(SILENT_S, SILENT_GAPS * live.gap_s):
        return Condition.RUNNING
    return Condition.ABANDONED if live.is_abandoned else Condition.SILENT


def state(live: Live) -> str:
    """The same in words."""
    silence = f"nothing has been written for {duration(live.silent_s)}"
    return {
        Condition.WAITING: "the file is not there yet: waiting for it",
        Condition.RUNNING: "running",
        Condition.SILENT: silence,
        Condition.ABANDONED: f"{silence}: the recorder is gone, and wrote no end",
        Condition.ENDED: f"ended: {live.seen.status}",
    }[condition(live)]


def evaluation(split: str, metrics: EvalMetrics) -> str:
    """The numbers of one evaluation."""
    named = {"loss": metrics.loss, "ppl": metrics.ppl, "accuracy": metrics.accuracy}
    extras = {name: value for name, value in metrics.extras.items() if type(value) in (int, float)}
    told = [
        f"{name} {number(value)}" for name, value in [*named.items(), *list(extras.items())[:2]] if value is not None
    ]
    at = "" if metrics.step is None else f" at step {metrics.step}"
    return f"{split} {' '.join(told) or MISSING}{at}"


def alert(mark: Mark) -> str:
    """One alert."""
    at = "" if mark.step is None else f" at step {mark.step}"
    return f"{mark.severity.value} {mark.code}{at}: {mark.message}"


def planned_steps(seen: SignalSnapshot) -> int | None:
    """How many steps the run is meant to take, where it says so."""
    planned = seen.config.training.max_steps if seen.config else None
    return planned if planned and planned > 0 else None


CALM: Final = (Condition.RUNNING, Condition.ENDED)


def _lines(live: Live, width: int) -> Iterator[Shown]:
    config = live.seen.config
    names = [live.seen.run_id, config.model_name if config else None, live.file]
    yield Shown("  ".join(name for name in names if name), is_title=True)
    yield Shown(_labelled("status", state(live)), None if condition(live) in CALM else Severity.WARNING)
    if not live.is_there or not live.seen.counts:
        return
    yield Shown(_labelled("progress", f"{_bar(live, width)}{progress(live)}"))
    for label, name in CURVES.items():
        if name in live.curves:
            yield Shown(_labelled(label, _curve(live.curves[name], live, width)))
    for split, metrics in list(live.seen.evals.items())[-SPLITS_SHOWN:]:
        yield Shown(_labelled("eval", evaluation(split, metrics)))
    for one in live.standings:
        yield from _sink(one, live.seen.run_id)
    hidden = len(live.marks) - ALERTS_SHOWN
    if hidden > 0:
        yield Shown(_labelled("alerts", f"{hidden} earlier ones"))
    for mark in live.marks[-ALERTS_SHOWN:]:
        yield Shown(_labelled("alert", alert(mark)), mark.severity)


def _bar(live: Live, width: int) -> str:
    planned = planned_steps(live.seen)
    if planned is None or live.seen.last_step is None:
        return ""
    share = min(live.seen.last_step / planned, 1.0)
    size = BAR if width >= WIDE else BAR // 3
    return f"[{'#' * int(share * size):<{size}}] "


def _curve(curve: Curve, live: Live, width: int) -> str:
    room = min(max(width - 50, SPARK[0]), SPARK[1])
    bad = f"  {curve.nonfinite_count} not finite" if curve.nonfinite_count else ""
    return f"{number(curve.end):<10} {sparkline(curve.buckets, room, encoding=live.encoding)}{bad}"


def _sink(one: Standing, run_id: str | None) -> Iterator[Shown]:
    behind = f"{one.behind} lines behind" if one.behind else "up to date"
    lag = f", {duration(one.lag_s)}" if one.lag_s is not None and one.behind else ""
    tracked = one.runs.get(run_id or "")
    url = f"  {tracked.url}" if tracked and tracked.url else ""
    error = f"  {one.error}" if one.error else ""
    yield Shown(_labelled(one.sink[: LABEL - 1], f"{behind}{lag}{url}{error}"), Severity.WARNING if one.error else None)


def _labelled(label: str, text: str) -> str:
    return f"  {label:<{LABEL}}{text}"


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."[:width]
