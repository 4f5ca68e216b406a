"""Detectors over evaluations: each keeps, for every held-out split, the best so far and a few floats more.

An evaluation at a step that was evaluated before is one that a resumed run made again: it says nothing new.
"""

import math
from itertools import pairwise
from typing import Final

import msgspec

from gradience.evaluation import metric
from gradience.policy.rule import Match, Thresholds

TRAINED: Final = ("train", "training")
LOSSES: Final = ("loss", "ppl", "perplexity")
SPLITS: Final = 16  # and as many metrics of each: more are not watched


class Judged(msgspec.Struct):
    """One evaluation of a split that was held out, beside the smoothed training loss of that moment."""

    split: str
    step: int
    loss: float | None
    metrics: dict[str, float]
    n: int | None
    train_loss: float | None


class Best(msgspec.Struct):
    """The best value of one quantity, where it was, and what came after."""

    first: float
    first_step: int
    value: float
    step: int
    last: float
    last_step: int
    count: int = 1
    n: int | None = None

    @classmethod
    def of(cls, value: float, step: int) -> "Best":
        """The first value."""
        return cls(value, step, value, step, value, step)

    def take(self, value: float, step: int, *, up: bool) -> None:
        """The next value."""
        self.count += 1
        self.last, self.last_step = value, step
        if value > self.value if up else value < self.value:
            self.value, self.step = value, step

    def is_left(self, step: int) -> bool:
        """Whether something is left when all from this step on is told anew; a best of then gives way to the first."""
        if self.step >= step:
            self.value, self.step = self.first, self.first_step
        self.last, self.last_step = self.value, self.step
        return self.first_step < step


class Overfitting(msgspec.Struct):
    """The loss of a held-out split is clearly above its best, twice, while the training loss went on falling."""

    best: dict[str, Best] = {}
    train: dict[str, float | None] = {}  # the training loss when the split was at its best
    above: dict[str, int] = {}

    def see(self, judged: Judged, limits: Thresholds) -> Match | None:
        """Take the next evaluation."""
        split, loss = judged.split, judged.loss
        if loss is None or not math.isfinite(loss):
            return None
        best = self.best.get(split)
        if best is None or loss < best.value:
            self.best[split] = Best.of(loss, judged.step)
            self.train[split] = judged.train_loss
            self.above[split] = 0
            return None
        rise = loss - best.value
        then, now = self.train[split], judged.train_loss
        falls = now is not None and then is not None and now < then
        if rise <= max(limits["rise_nat"], limits["rise_share"] * abs(best.value)) or not falls:
            self.above[split] = 0
            return None
        self.above[split] += 1
        if self.above[split] != limits["evals"]:
            return None
        return Match(facts={"split": split, "step": judged.step, "rise": rise, "loss": loss, "best_step": best.step})


class MemorizationGap(msgspec.Struct):
    """The loss of a held-out split lies above the training loss by more than the bar, and by more each time."""

    gaps: dict[str, list[float]] = {}
    holds: dict[str, bool] = {}

    def see(self, judged: Judged, limits: Thresholds) -> Match | None:
        """Take the next evaluation."""
        if judged.loss is None or judged.train_loss is None:
            return None
        gap = judged.loss - judged.train_loss
        if not math.isfinite(gap):
            return None
        kept = int(limits["evals"])
        gaps = self.gaps[judged.split] = [*self.gaps.get(judged.split, [])[1 - kept :], gap]
        grows = len(gaps) == kept and all(one < other for one, other in pairwise(gaps))
        bar = math.log(limits["gap"])
        began = grows and gap > bar and not self.holds.get(judged.split)
        self.holds[judged.split] = grows and gap > bar
        if not began:
            return None
        facts = {"ratio": math.exp(min(gap, 700.0)), "nat": gap, "split": judged.split, "source": "train_loss"}
        return Match(facts={**facts, "step": judged.step})


class EvalRegression(msgspec.Struct):
    """At the end a metric of a held-out split is clearly worse than its best was."""

    best: dict[str, Best] = {}  # by split and metric

    def see(self, judged: Judged, _: Thresholds) -> Match | None:
        """Take the next evaluation; nothing is said before the end."""
        for name, value in judged.metrics.items():
            up, key = metric.is_better_up(name), f"{judged.split}/{name}"
            if up is None or not math.isfinite(value):
                continue
            if key in self.best:
                self.best[key].take(value, judged.step, up=up)
            elif len(self.best) < SPLITS * SPLITS:
                self.best[key] = Best.of(value, judged.step)
            if key in self.best:
                self.best[key].n = judged.n
        return None

    def end(self, limits: Thresholds) -> Match | None:
        """The metric that fell farthest below its best, in units of what it may; a task's counts before a loss."""
        tasks = {key: best for key, best in self.best.items() if key.rpartition("/")[2] not in LOSSES}
        judged = tasks or self.best
        drops = [(self._drop(key, best, limits), key) for key, best in judged.items() if best.count > 1]
        worst, key = max(drops, default=(0.0, ""))
        if worst <= 1.0:
            return None
        best = self.best[key]
        facts = {"metric": key, "last": best.last, "best": best.value, "best_step": best.step, "step": best.last_step}
        return Match(facts=facts)

    def _drop(self, key: str, best: Best, limits: Thresholds) -> float:
        drop = best.value - best.last if metric.is_better_up(key) else best.last - best.value
        noise = limits["errors"] * _standard_error(key, best)
        allowed = max(noise, limits["drop_share"] * abs(best.value))
        return drop / allowed if allowed else math.inf if drop > 0 else 0.0


class NeverImproved(msgspec.Struct):
    """At the end the loss of a held-out split never got below what it was at first."""

    best: dict[str, Best] = {}

    def see(self, judged: Judged, _: Thresholds) -> Match | None:
        """Take the next evaluation; nothing is said before the end."""
        loss = judged.loss
        if loss is None or not math.isfinite(loss):
            return None
        if judged.split in self.best:
            self.best[judged.split].take(loss, judged.step, up=False)
        else:
            self.best[judged.split] = Best.of(loss, judged.step)
        return None

    def end(self, limits: Thresholds) -> Match | None:
        """The first split of which it is true."""
        for split, best in self.best.items():
            fell = best.first - best.value > limits["fall_share"] * abs(best.first)
            is_early = best.first_step <= limits["start_share"] * best.last_step
            if best.count >= limits["evals"] and is_early and not fell:
                facts = {"split": split, "first": best.first, "best": best.value, "evals": best.count}
                return Match(facts={**facts, "step": best.last_step})
        return None


def _standard_error(key: str, best: Best) -> float:
    """Of a share of right answers among n; 0 where it is no share, or n is not known."""
    p = best.value
    if not best.n or best.n < 1 or not metric.is_share(key) or not 0.0 <= p <= 1.0:
        return 0.0
    return math.sqrt(p * (1.0 - p) / best.n)
