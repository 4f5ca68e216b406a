"""Axes of charts: which part of the numbers is shown, where it lies on the paper, and the round numbers beside it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from gradience.report.numbers import number

LARGEST: Final = 1e300  # so that the length of an axis is a number
SHORTEST: Final = 1e-12  # length of an axis, as a share of what it shows: less is rounding
TINY: Final = 1e-290  # below it the round numbers run out
DECADES_FOR_LOG: Final = 2.0  # a quantity that spans less reads better on a linear axis
OUTLIERS: Final = 0.02  # share of the points at either end that an axis may leave out ...
STRETCH: Final = 3.0  # ... where with them it would be this many times as long


class Tick(msgspec.Struct, frozen=True):
    """A line across the chart, and what stands beside it."""

    at: float
    label: str


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """From numbers between `low` and `high` to places between `start` and `end`; what lies beyond stays at the edge."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number."""
        low, high, value = (self._even(one) for one in (self.low, self.high, value))
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int, label: Callable[[float], str] = number) -> list[Tick]:
        """Some `count` round numbers."""
        values = _decades(self.low, self.high) if self.is_log else []
        values = values if len(values) > 1 else _round_numbers(self.low, self.high, count)
        return [Tick(self(value), label(value)) for value in values]

    def _even(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.is_log else value


def fitting(values: Iterable[float], start: float, end: float, *, may_be_log: bool = False) -> Scale | None:
    """The scale for these numbers; None without any. Few that lie far out do not press all others together."""
    known = sorted(min(max(value, -LARGEST), LARGEST) for value in values if math.isfinite(value))
    if not known:
        return None
    low, high = known[0], known[-1]
    is_log = may_be_log and low > 0 and math.log10(high) - math.log10(low) >= DECADES_FOR_LOG
    if not is_log:
        low, high = _without_outliers(known)
    if high - low <= max(SHORTEST * max(abs(low), abs(high)), TINY):
        margin = abs(low) * 0.05 if abs(low) > TINY else 1.0
        low, high = low - margin, high + margin
    return Scale(low=low, high=high, start=start, end=end, is_log=is_log)


def _without_outliers(known: Sequence[float]) -> tuple[float, float]:
    cut = int(len(known) * OUTLIERS)
    inner_low, inner_high = known[cut], known[-1 - cut]
    room = STRETCH * (inner_high - inner_low)
    if not room:
        return known[0], known[-1]
    low = known[0] if known[0] >= inner_low - room else inner_low
    high = known[-1] if known[-1] <= inner_high + room else inner_high
    return low, high


def _round_numbers(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.99)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    every = max(1, len(exponents) // 6)
    return [10.0**exponent for exponent in exponents if exponent % every == 0]
