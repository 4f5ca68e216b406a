"""Detectors over training steps: each sees loss, learning rate and gradient norm of every step, and keeps a few floats.

`see` returns a match when the detector's condition begins to hold, and None while it goes on to. Whether it may be
said again so soon is decided elsewhere.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gradience.policy.detectors.smoothing import SLOW, Level, Spread
from gradience.policy.rule import Match, Thresholds
from gradience.vnext.types import Severity


class Point(msgspec.Struct, gc=False):
    """What a step says; None for what it does not.

    `usable` is the loss where it can be reckoned with: finite, and not the 0 that some trainers write for NaN; `slow`
    is its slow mean.
    `planned` is how many steps the run is to take, where it says.
    """

    step: int | None
    loss: float | None
    usable: float | None
    slow: float
    lr: float | None
    grad_norm: float | None
    planned: int | None


class LossNonfinite(msgspec.Struct):
    """A loss or a gradient norm that is no finite number, or a loss of exactly zero for several steps.

    Trainers that hide NaN from their log write 0 instead. A positive gradient norm says that a 0 is real: rewards may
    balance, and logs are rounded.
    """

    holds: bool = False
    zeros: int = 0

    def see(self, point: Point, limits: Thresholds) -> Match | None:
        """Take the next step."""
        loss, norm = point.loss, point.grad_norm
        if point.usable is not None and (norm is None or math.isfinite(norm)):  # nearly always
            self.holds, self.zeros = False, 0
            return None
        is_hidden = loss == 0.0 and not (norm is not None and 0.0 < norm < math.inf)
        self.zeros = self.zeros + 1 if is_hidden else 0
        name, value = "train_step/loss", loss
        if loss is None or math.isfinite(loss):
            name, value = "train_step/grad_norm", norm
        broken = value is not None and not math.isfinite(value)
        if not broken and self.zeros >= limits["zeros"]:
            name, value, broken = "train_step/loss", 0.0, True
        began, self.holds = broken and not self.holds, broken
        return Match(facts={"name": name, "value": word(value), "step": point.step, "count": 1}) if began else None


_SETTLED: Final = 20  # points that a scatter is a mean of
_FAR: Final = 5.0  # times the scatter


class LossDiverged(msgspec.Struct):
    """The fast mean of the loss lies clearly above the best slow one, and stays there.

    Of a noisy loss both scatter, and the best is the lowest of many: the bar is above what the scatter makes of that.
    """

    fast: float | None = None
    points: int = 0
    above: int = 0
    best: float | None = None
    scatter: float = 0.0  # exponentially weighted mean of |loss - slow mean|
    usual: float = 0.0  # ... when the slow mean was at its best
    since: int | None = None

    def see(self, point: Point, limits: Thresholds) -> Match | None:
        """Take the next step."""
        loss = point.usable
        if loss is None:
            return None
        self.points += 1
        before = self.fast
        self.fast = fast = loss if before is None else before + limits["fast_weight"] * (loss - before)
        self._scatter(abs(loss - point.slow))
        if self.points < limits["warm_up"]:
            return None
        best = self.best
        if best is None or point.slow < best:
            self.best, self.usual = point.slow, self.scatter
            best = point.slow
        rise = fast - best
        if rise <= limits["rise_nat"]:
            self.above = 0
            return None
        bar = max(limits["rise_nat"], limits["rise_share"] * abs(best)) + limits["scatter_times"] * self.usual
        if rise <= bar or loss - best <= bar / 2:  # a single spike echoes in the fast mean
            self.above = 0
            return None
        self.above += 1
        if self.above == 1:
            self.since = point.step
        if self.above != limits["points"]:
            return None
        return Match(facts={"rise": rise, "best": best, "loss": fast, "step": self.since})

    def _scatter(self, off: float) -> None:
        part = 1.0 / self.points if self.points < _SETTLED else 1.0 / _SETTLED
        if self.points > _SETTLED and off > _FAR * self.scatter:
            off = _FAR * self.scatter  # a spike is not what the loss is like
        self.scatter += part * (off - self.scatter)


class LossSpike(msgspec.Struct):
    """A single loss far above what the last ones were like."""

    spread: Spread = msgspec.field(default_factory=Spread)

    def see(self, point: Point, limits: Thresholds) -> Match | None:
        """Take the next step."""
        loss = point.usable
        if loss is None:
            return None
        least = limits["floor_share"] * abs(self.spread.level)
        score = self.spread.score(loss, weight=limits["weight"], least=least, edge=limits["score"])
        if score <= limits["score"] or self.spread.points <= limits["warm_up"]:
            return None
        return Match(facts={"step": point.step, "loss": loss, "level": self.spread.level, "score": score})


class GradExplosion(msgspec.Struct):
    """A gradient norm that is a multiple of its recent level; a warning where several of the last ones were."""

    spread: Spread = msgspec.field(default_factory=Spread)  # of the logarithm
    recent: list[int] = msgspec.field(default_factory=list)  # the points that were the last to explode

    def see(self, point: Point, limits: Thresholds) -> Match | None:
        """Take the next step."""
        norm = point.grad_norm
        if norm is None or not 0.0 < norm < math.inf:
            return None
        log, usual = math.log(norm), self.spread.level
        score = self.spread.score(log, weight=limits["weight"], least=limits["least_scatter"], edge=limits["score"])
        points = self.spread.points
        if score <= limits["score"] or points <= limits["warm_up"] or log < usual + math.log(limits["times"]):
            return None
        oldest = points - limits["of_last"]
        self.recent = [*(at for at in self.recent if at > oldest), points]
        facts = {"step": point.step, "grad_norm": norm, "usual": math.exp(usual), "factor": math.exp(log - usual)}
        is_often = len(self.recent) >= limits["often"]
        return Match(facts=facts, severity=Severity.WARNING if is_often else Severity.INFO)


class LossPlateau(msgspec.Struct):
    """The slow mean of the loss has not fallen for a quarter of the planned steps, at a learning rate still high.

    It looks at a few marks, evenly spaced over the plan. Without a plan or a learning rate it says nothing.
    """

    marks: list[float] = msgspec.field(default_factory=list)  # the slow mean at the last marks
    next_mark: int = 0
    peak_lr: float = 0.0
    holds: bool = False

    def see(self, point: Point, limits: Thresholds) -> Match | None:
        """Take the next step."""
        lr, step = point.lr, point.step
        if point.planned is None or lr is None or step is None or point.usable is None or not math.isfinite(lr):
            return None
        if lr > self.peak_lr:
            self.peak_lr = lr
        if step < self.next_mark:
            return None
        apart = max(1, int(point.planned * limits["window_share"] / limits["marks"]))
        self.next_mark = step + apart
        self.marks = [*self.marks[-int(limits["marks"]) :], point.slow]
        return self._judged(step, lr, limits)

    def _judged(self, step: int, lr: float, limits: Thresholds) -> Match | None:
        first, last = self.marks[0], self.marks[-1]
        is_whole = len(self.marks) > limits["marks"]
        fall = first - last
        is_flat = is_whole and -limits["rise_share"] * abs(first) < fall < limits["fall_share"] * abs(first)
        holds = is_flat and lr >= limits["lr_share"] * self.peak_lr
        began, self.holds = holds and not self.holds, holds
        return Match(facts={"step": step, "loss": last, "before": first, "lr": lr}) if began else None


def point(step: int | None, payload: Mapping[str, Any], planned: int | None, slow: Level) -> Point:
    """A step as the detectors see it; of several learning rates the largest counts. `slow` takes the loss."""
    get = payload.get
    loss, lr, norm = get("loss"), get("lr"), get("grad_norm")
    if type(lr) is list:
        lr = max((one for one in map(number, lr) if one is not None), default=None)
    loss, lr, norm = number(loss), number(lr), number(norm)
    usable = loss if loss and -math.inf < loss < math.inf else None
    level = slow.value or 0.0 if usable is None else slow.take(usable, SLOW)
    return Point(step, loss, usable, level, lr, norm, planned)


def number(value: Any) -> float | None:
    """A number as a float; None for anything else."""
    if type(value) is float:
        return value
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:  # an integer beyond every float
        return math.inf if value > 0 else -math.inf


def word(value: float | None) -> str:
    """A number as the contract writes what is not finite."""
    if value is None or math.isnan(value):
        return "NaN"
    return str(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
