"""The curves of one run while its events go by: loss, learning rate, gradient norm, and what evaluations say.

After a resume some steps stand twice; the curves are those of the last attempt, like everything else that is read.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final, cast

from gradience.curves.curve import Curve
from gradience.vnext.types import AnyEvent, Eval, RunStart, TrainStep, UnknownEvent

TRAIN: Final = ("loss", "lr", "grad_norm")
CURVES_KEPT: Final = 64  # splits times metrics; a run that invents more does not grow the memory
_EVAL: Final = "eval/"
_LARGEST: Final = 1 << 1000  # a whole number that no float holds is no measurement
GROUPS_KEPT: Final = 4  # learning rates of parameter groups


class Course:
    """One run's curves by name, such as `loss`, `lr` (of later parameter groups `lr/1`) and `eval/test/ppl`."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}
        self._reached = -1
        self._is_fresh = False  # no step was seen since the latest start

    def take(self, events: Sequence[AnyEvent | UnknownEvent]) -> None:
        """Take the run's next events; many at once cost a third of what they cost one by one."""
        kinds = list(map(type, events))
        is_rare = kinds.count(TrainStep) < len(kinds)
        rare = [index for index, kind in enumerate(kinds) if kind is not TrainStep] if is_rare else []
        for start, end in pairwise([-1, *rare, len(events)]):
            if end - start > 1:
                self._train(cast("Sequence[TrainStep]", events[start + 1 : end]))
            if end < len(events):
                self._take_rare(events[end])

    def curves(self) -> dict[str, Curve]:
        """Those that have a point, in the order in which they first had one."""
        return {name: curve for name, curve in self._curves.items() if curve.buckets or curve.nonfinite_count}

    def _take_rare(self, event: AnyEvent | UnknownEvent) -> None:
        if isinstance(event, Eval):
            self._evaluate(event)
        elif isinstance(event, RunStart):
            self._is_fresh = True

    def _train(self, events: Sequence[TrainStep]) -> None:
        steps = self._steps(events)
        for name in TRAIN:
            values = list(map(attrgetter(name), events))
            if name == "lr" and list in map(type, values):
                self._groups(steps, values)
            else:
                self._extend(name, steps, values)

    def _steps(self, events: Sequence[TrainStep]) -> list[int]:
        """Where the events stand; one that does not say stands where the one before it does."""
        given = list(map(attrgetter("step"), events))
        steps = self._filled(given) if None in given else cast("list[int]", given)
        self._arrive(steps[0])
        self._reached = steps[-1]
        return steps

    def _filled(self, given: Sequence[int | None]) -> list[int]:
        steps, last = [], max(self._reached, 0)
        for step in given:
            last = last if step is None else step
            steps.append(last)
        return steps

    def _arrive(self, step: int) -> None:
        if self._is_fresh and step <= self._reached:
            for curve in self._curves.values():
                curve.forget(step)
        self._is_fresh = False

    def _groups(self, steps: list[int], values: list[Any]) -> None:
        rates = [value if type(value) is list else [value] for value in values]
        for group in range(min(GROUPS_KEPT, max(map(len, rates)))):
            of_group = [rate[group] if group < len(rate) else None for rate in rates]
            self._extend(f"lr/{group}" if group else "lr", steps, of_group)

    def _evaluate(self, event: Eval) -> None:
        if event.step is not None:
            self._arrive(event.step)
        self._reached = step = self._reached if event.step is None else event.step
        for name, value in event.metrics.items():
            if type(value) is float or (type(value) is int and abs(value) < _LARGEST):
                self._extend(f"{_EVAL}{event.split}/{name}", [max(step, 0)], [float(value)])

    def _extend(self, name: str, steps: list[int], values: list[Any]) -> None:
        if None in values:
            steps = [step for step, value in zip(steps, values, strict=True) if value is not None]
            values = [value for value in values if value is not None]
        if not values or (name not in self._curves and len(self._curves) >= CURVES_KEPT):
            return
        self._curves.setdefault(name, Curve()).extend(steps, values)


def judged(name: str) -> tuple[str, str] | None:
    """The split and the metric that a curve of this name is of; None for a curve of training."""
    if not name.startswith(_EVAL):
        return None
    split, _, metric = name.removeprefix(_EVAL).partition("/")  # a metric has a slash in its name before a split does
    return split, metric


def document(curves: Mapping[str, Curve]) -> dict[str, Any]:
    """The curves in columns, for `--json`: a bucket is a step, its mean, its extremes and how many points it holds."""
    return {name: _columns(curve) for name, curve in curves.items()}


def _columns(curve: Curve) -> dict[str, Any]:
    buckets = curve.buckets
    return {
        "first_step": [bucket.first for bucket in buckets],
        "step": [bucket.last for bucket in buckets],
        "mean": [bucket.mean for bucket in buckets],
        "min": [bucket.low for bucket in buckets],
        "max": [bucket.high for bucket in buckets],
        "last": [bucket.end for bucket in buckets],
        "count": [bucket.count for bucket in buckets],
        "nonfinite_steps": curve.nonfinite,
        "nonfinite_count": curve.nonfinite_count,
    }
