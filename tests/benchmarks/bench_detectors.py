"""False alarms, misses and delays of the detectors over recorded curves of tiny models, and what a step costs.

What should fire comes from the settings of a training and from a criterion over the finished curve (`curve_truth`),
never from a detector. Where the two disagree, neither alarm nor silence is counted. `make_curves` makes the curves.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from random import Random
from statistics import median
from typing import Final

import msgspec

from gradience.policy.detectors import CODES, Monitors
from tests.benchmarks import curves_of
from tests.benchmarks.curve_truth import CRITERIA
from tests.benchmarks.curves_of import Curve

STEP_BAR_US: Final = 3.0  # of CPU for one train_step
FALSE_BAR: Final = 0.1  # of the runs without the fault
MISS_BAR: Final = 0.25  # of the runs with it


class Score(msgspec.Struct):
    """How one detector did."""

    alarms: int = 0
    without: int = 0
    misses: int = 0
    faulty: int = 0
    unclear: int = 0
    unclear_alarms: int = 0
    delays: list[int] = msgspec.field(default_factory=list)

    def take(self, truth: int | None, *, is_intended: bool, fired: int | None) -> None:
        """One curve; `fired` is the step of the first alert, `truth` that of the fault."""
        if (truth is not None) != is_intended:
            self.unclear += 1
            self.unclear_alarms += fired is not None
        elif truth is None:
            self.without += 1
            self.alarms += fired is not None
        else:
            self.faulty += 1
            self.misses += fired is None
            self.delays += [] if fired is None else [fired - truth]

    def row(self, name: str) -> str:
        """A line of the table."""
        delay = f"{median(self.delays):.0f}" if self.delays else "-"
        alarms, misses = f"{self.alarms} of {self.without}", f"{self.misses} of {self.faulty}"
        unclear = f"{self.unclear_alarms} of {self.unclear}" if self.unclear else "-"
        return f"  {name:<20}{alarms:>16}{misses:>14}{delay:>10}{unclear:>18}"

    @property
    def is_met(self) -> bool:
        """Whether it is as good as it should be."""
        return self.alarms <= FALSE_BAR * self.without and self.misses <= MISS_BAR * self.faulty


def main() -> int:
    """Print the tables; the exit code is 1 when a bar is missed."""
    curves = curves_of.read()
    print(f"{len(curves)} trainings of tiny models, {sum(one.steps for one in curves)} steps")
    verdicts = [*_told("as they were recorded", recorded(curves))]
    good = [one for one in curves if not one.intends]
    verdicts += _told(f"a fault put into each of the {len(good)} good ones", _injected(good))
    return 0 if all([*verdicts, _cost(curves)]) else 1


def recorded(curves: Iterable[Curve]) -> dict[str, Score]:
    """How each detector did over the curves as they are."""
    scores = {code: Score() for code in CODES}
    for curve in curves:
        fired = first_alerts(curve)
        for code, score in scores.items():
            score.take(CRITERIA[code](curve), is_intended=code in curve.intends, fired=fired.get(code))
    return scores


def _injected(good: Iterable[Curve]) -> dict[str, Score]:
    scores = {"loss_spike": Score(), "loss_diverged": Score(), "loss_nonfinite": Score(), "grad_explosion": Score()}
    for number, curve in enumerate(good):
        at = Random(number).randrange(60, curve.steps - 60)
        faults = {
            "loss_spike": _changed(curve, at, lambda _, loss: 3 * loss, 1),
            "loss_diverged": _changed(curve, at, lambda age, loss: loss * min(3.0, 1 + 0.2 * age), curve.steps),
            "loss_nonfinite": _changed(curve, at, lambda _, __: math.nan, 1),
            "grad_explosion": msgspec.structs.replace(
                curve, grad_norm=[norm * (20 if step == at else 1) for step, norm in enumerate(curve.grad_norm, 1)]
            ),
        }
        before = first_alerts(curve)
        for code, faulty in faults.items():
            fired = first_alerts(faulty).get(code)
            scores[code].take(at, is_intended=True, fired=fired if fired is None or fired >= at else None)
            scores[code].take(None, is_intended=False, fired=before.get(code))
    return scores


def _changed(curve: Curve, at: int, change: Callable[[int, float], float], steps: int) -> Curve:
    """The losses of some steps, from `at` on, each with its age."""
    losses = [
        change(step - at, loss) if at <= step < at + steps else loss for step, loss in enumerate(curve.loss, start=1)
    ]
    return msgspec.structs.replace(curve, loss=losses)


def first_alerts(curve: Curve) -> dict[str, int]:
    """The step of the first alert of each code."""
    monitors, found, last = Monitors(), dict[str, int](), 0
    for name, step, payload in curve.events():
        last = step or last
        for alert in monitors.observe(name, step, payload):
            found.setdefault(alert["code"], last)
    return found


def _told(title: str, scores: dict[str, Score]) -> list[bool]:
    print(f"\n{title}\n  {'':<20}{'false alarms':>16}{'misses':>14}{'delay':>10}{'alarms, unclear':>18}")
    for code, score in scores.items():
        print(score.row(code))
    return [score.is_met for score in scores.values()]


def _cost(curves: Iterable[Curve]) -> bool:
    """CPU time of train steps alone; the best of some rounds, since other programs run too."""
    events = [[one for one in curve.events() if one[0] == "train_step"] for curve in islice(curves, 20)]
    taken = min(_round(events) for _ in range(5))
    cost = taken / sum(map(len, events)) * 1e6
    is_met = cost <= STEP_BAR_US
    print(
        f"\nall detectors, per train_step: {cost:.2f} us (at most {STEP_BAR_US:.0f}: {'met' if is_met else 'MISSED'})"
    )
    return is_met


def _round(runs: Iterable[list[tuple[str, int | None, dict[str, float]]]]) -> float:
    start = time.process_time()
    for events in runs:
        observe = Monitors().observe
        for event in events:
            observe(*event)
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
