"""The charts of a run: which of its curves stand together, in which order, with the alerts at their steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gradience.curves import course
from gradience.curves.curve import Bucket, Curve
from gradience.curves.smooth import ewma
from gradience.policy.replay import Mark
from gradience.report.html.chart import Chart, Event, Figure, Line, draw

METRICS_SHOWN: Final = 6  # charts of evaluations beside the loss
NOT_SHOWN: Final = frozenset({"loss", "n", "epoch", "runtime", "samples_per_second", "steps_per_second"})
EVENTS_SHOWN: Final = 40  # in a chart


def figures(curves: Mapping[str, Curve], marks: Sequence[Mark]) -> list[Figure]:
    """Loss of training and evaluations, then learning rate, gradient norm, and the other metrics of evaluations."""
    steps = reach(curves.values())
    losses = [*smoothed("training", curves.get("loss")), *_evals(curves, "loss")]
    events = _events(curves, marks)
    charts = [
        Chart(title="Loss", lines=losses, steps=steps, events=events, may_be_log=True),
        *(
            Chart(title=f"Evaluation: {name}", lines=_evals(curves, name), steps=steps, may_be_log=name == "ppl")
            for name in _metrics(curves)
        ),
        Chart(title="Learning rate", lines=_rates(curves), steps=steps),
        Chart(
            title="Gradient norm",
            lines=smoothed("grad norm", curves.get("grad_norm")),
            steps=steps,
            events=events,
            may_be_log=True,
        ),
    ]
    return [figure for chart in charts if (figure := draw(chart)) is not None]


def smoothed(name: str, curve: Curve | None) -> list[Line]:
    """The trend, with the points themselves behind it, or their extremes where they are many."""
    buckets = curve.buckets if curve else []
    if not buckets:
        return []
    trend = list(zip((bucket.step for bucket in buckets), ewma(buckets), strict=True))
    if all(bucket.count == 1 for bucket in buckets):
        return [Line(name=name, points=trend, raw=[(bucket.step, bucket.end) for bucket in buckets])]
    return [Line(name=name, points=trend, band=[(bucket.low, bucket.high) for bucket in buckets])]


def plain(name: str, buckets: Sequence[Bucket]) -> Line:
    """The last value of each bucket."""
    return Line(name=name, points=[(bucket.last, bucket.end) for bucket in buckets], has_dots=True)


def _evals(curves: Mapping[str, Curve], metric: str) -> list[Line]:
    found = {
        judged[0]: curve for name, curve in curves.items() if (judged := course.judged(name)) and judged[1] == metric
    }
    return [plain(split, curve.buckets) for split, curve in found.items() if curve.buckets]


def _rates(curves: Mapping[str, Curve]) -> list[Line]:
    found = {name: curve.buckets for name, curve in curves.items() if name == "lr" or name.startswith("lr/")}
    several = len(found) > 1
    return [
        Line(
            name=f"group {name.partition('/')[2] or 0}" if several else "lr",
            points=[(bucket.step, bucket.mean) for bucket in buckets],
        )
        for name, buckets in found.items()
        if buckets
    ]


def _metrics(curves: Mapping[str, Curve]) -> list[str]:
    names = dict.fromkeys(judged[1] for name in curves if (judged := course.judged(name)))
    return [name for name in names if name not in NOT_SHOWN][:METRICS_SHOWN]


def _events(curves: Mapping[str, Curve], marks: Sequence[Mark]) -> list[Event]:
    """Alerts, and where the loss was no number: that has no height, so it is told as an event."""
    broken = curves["loss"].nonfinite if "loss" in curves else []
    found = [
        *(Event(step=mark.step, kind=mark.severity.value, label=mark.code) for mark in marks if mark.step is not None),
        *(Event(step=step, kind="error", label="loss is not finite") for step in broken[:1]),
    ]
    return found[:EVENTS_SHOWN]


def reach(curves: Iterable[Curve]) -> tuple[float, float]:
    """The first and the last step that any of them has."""
    ends = [(curve.buckets[0].first, curve.buckets[-1].last) for curve in curves if curve.buckets]
    return min((first for first, _ in ends), default=0), max((last for _, last in ends), default=0)
