"""Running values in a few floats: levels, deviations, and counts of what holds just now."""

import math
from typing import Final

import msgspec

_TINY: Final = 1e-12  # in place of a scale of zero
SLOW: Final = 0.05  # of a new number in a slow mean, which follows within twenty


class Level(msgspec.Struct):
    """An exponentially weighted mean: value += weight * (x - value), from the first number on."""

    value: float | None = None

    def take(self, x: float, weight: float) -> float:
        """The level with `x` in it."""
        before = self.value
        self.value = level = x if before is None else before + weight * (x - before)
        return level


class Spread(msgspec.Struct):
    """A level and how far numbers lie from it; what lies far out moves neither by more than a number at the edge."""

    points: int = 0
    level: float = 0.0
    deviation: float = 0.0  # exponentially weighted mean of |x - level|

    def score(self, x: float, *, weight: float, least: float, edge: float) -> float:
        """How many standard deviations `x` lies above the level, which then takes it in.

        A mean absolute deviation is 0.8 of the standard deviation of normal numbers. `least` is what counts as one
        where numbers scatter less; `edge` is where winsorising begins.
        """
        self.points += 1
        if self.points == 1:
            self.level = x
            return 0.0
        level, share = self.level, 1.0 / self.points
        scale = 1.25 * self.deviation
        if scale <= least:
            scale = least or _TINY
        off = x - level
        score = off / scale
        if not -edge <= score <= edge:
            off = math.copysign(edge * scale, score)
        part = weight if weight > share else share
        self.deviation += part * (abs(off) - self.deviation)
        self.level = level + part * off
        return score
