"""A number over the steps of a run in a bounded number of buckets: every extreme survives, whatever the run's length.

All buckets but the last hold the same count of points. When there are too many, neighbours merge and the count
doubles; what a bucket says of its points stays exact.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

BUCKETS: Final = 512  # at most, and at least half of it in a long run: as fine as a chart is wide
NONFINITE_KEPT: Final = 64  # steps; the rest is counted


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """The points of consecutive steps `first` to `last`; `end` is the last of their values."""

    first: int
    last: int
    low: float
    low_step: int
    high: float
    high_step: int
    mean: float
    end: float
    count: int

    @property
    def step(self) -> float:
        """The middle."""
        return (self.first + self.last) / 2


class Curve:
    """One number of one run. Points that are not finite are kept apart: they have a place, and no height."""

    def __init__(self, limit: int = BUCKETS) -> None:
        self._limit = limit
        self._width = 1
        self._full: list[Bucket] = []
        self._open: Bucket | None = None
        self.nonfinite: list[int] = []
        self.nonfinite_count = 0

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take the next points, as many steps as values."""
        if values and not math.isfinite(sum(values)):  # an overflow is looked at twice, and taken
            steps, values = self._finite(steps, values)
        start = 0
        while start < len(values):
            room = self._width - (self._open.count if self._open else 0)
            self._add(_bucket(steps[start : start + room], values[start : start + room]))
            start += room

    def forget(self, step: int) -> None:
        """Drop what was said of this step and later ones; a bucket that began before keeps what it has."""
        self._full = [bucket for bucket in self._full if bucket.first < step]
        if self._open is not None and self._open.first >= step:
            self._open = None
        self.nonfinite = [one for one in self.nonfinite if one < step]

    @property
    def buckets(self) -> list[Bucket]:
        """What is known, in the order of the run."""
        return self._full if self._open is None else [*self._full, self._open]

    @property
    def lowest(self) -> Bucket | None:
        """The bucket with the lowest point; its `low_step` says where."""
        return min(self.buckets, key=lambda bucket: bucket.low, default=None)

    @property
    def highest(self) -> Bucket | None:
        """The bucket with the highest point."""
        return max(self.buckets, key=lambda bucket: bucket.high, default=None)

    @property
    def end(self) -> float | None:
        """The last value."""
        buckets = self.buckets
        return buckets[-1].end if buckets else None

    def _add(self, piece: Bucket) -> None:
        self._open = piece if self._open is None else merged(self._open, piece)
        if self._open.count < self._width:
            return
        self._full.append(self._open)
        self._open = None
        if len(self._full) >= self._limit:
            self._halve()

    def _halve(self) -> None:
        """Merge neighbours; one that is left over is the open bucket, half full."""
        self._width *= 2
        pairs = [merged(*pair) for pair in list(pairwise(self._full))[::2]]
        self._open = self._full[-1] if len(self._full) % 2 else None
        self._full = pairs

    def _finite(self, steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
        good = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        bad = [step for step, value in zip(steps, values, strict=True) if not math.isfinite(value)]
        self.nonfinite_count += len(bad)
        self.nonfinite += bad[: NONFINITE_KEPT - len(self.nonfinite)]
        return [step for step, _ in good], [value for _, value in good]


def merged(one: Bucket, other: Bucket) -> Bucket:
    """Two neighbours as one."""
    count = one.count + other.count
    lower, higher = (one if one.low <= other.low else other), (one if one.high >= other.high else other)
    return Bucket(
        first=one.first,
        last=other.last,
        low=lower.low,
        low_step=lower.low_step,
        high=higher.high,
        high_step=higher.high_step,
        mean=one.mean * (one.count / count) + other.mean * (other.count / count),
        end=other.end,
        count=count,
    )


def _bucket(steps: Sequence[int], values: Sequence[float]) -> Bucket:
    low, high = min(values), max(values)
    mean = sum(values) / len(values)
    return Bucket(
        first=steps[0],
        last=steps[-1],
        low=low,
        low_step=steps[values.index(low)],
        high=high,
        high_step=steps[values.index(high)],
        mean=min(max(mean, low), high) if math.isfinite(mean) else low / 2 + high / 2,
        end=values[-1],
        count=len(values),
    )
