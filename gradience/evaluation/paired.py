"""The difference between two adapters from paired evaluations, with its standard error by the best means there is."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gradience.evaluation.measure import Measure

Basis = Literal["examples", "repeats", "reported", "binomial", "none"]

BASES: Final[dict[Basis, str]] = {
    "examples": "paired, over the same examples",
    "repeats": "paired, over the repeats; other examples may differ more",
    "reported": "from the standard errors that both report, as if their examples were not the same: too wide",
    "binomial": "from the number of examples, as if they were not the same: too wide",
    "none": "not known: nothing tells how much chance is in it",
}


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of each adapter, under the same conditions."""

    original: Measure
    compressed: Measure


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Means over the pairs; `delta` is compressed - original, `error` its standard error."""

    original: float
    compressed: float
    delta: float
    error: float | None
    basis: Basis
    n: int | None = None  # examples


def difference(pairs: Sequence[Pair], *, is_share: bool = False) -> Difference:
    """The difference over all pairs; `is_share` says that the values are shares of right answers.

    The standard error is that of the mean of paired differences where single examples are known; else that over the
    repeats, unless all of them are the same; else sqrt(a^2 + b^2) of both evaluations' own.
    """
    deltas = [pair.compressed.value - pair.original.value for pair in pairs]
    noise = _noise(pairs, deltas, is_share=is_share)
    return Difference(
        original=statistics.fmean(pair.original.value for pair in pairs),
        compressed=statistics.fmean(pair.compressed.value for pair in pairs),
        delta=statistics.fmean(deltas),
        error=noise.error,
        basis=noise.basis,
        n=_count(pairs[0].original),
    )


class _Noise(msgspec.Struct, frozen=True):
    error: float | None
    basis: Basis


def _noise(pairs: Sequence[Pair], deltas: Sequence[float], *, is_share: bool) -> _Noise:
    if by_example := _by_example(pairs):
        return _Noise(_of_examples(by_example), "examples")
    if len(set(deltas)) > 1:
        return _Noise(_of_mean(deltas), "repeats")
    one = pairs[0]
    reported = _together(one.original.stderr, one.compressed.stderr)
    if reported is not None:
        return _Noise(reported, "reported")
    counted = _together(_binomial(one.original), _binomial(one.compressed)) if is_share else None
    return _Noise(None, "none") if counted is None else _Noise(counted, "binomial")


def _by_example(pairs: Sequence[Pair]) -> list[float]:
    """The difference at each example, over all repeats; nothing where an evaluation has others or does not tell."""
    sides = [(pair.original.examples or (), pair.compressed.examples or ()) for pair in pairs]
    size = len(sides[0][0])
    if size < 2 or any(len(before) != size or len(after) != size for before, after in sides):
        return []
    return [statistics.fmean(after[i] - before[i] for before, after in sides) for i in range(size)]


def _of_examples(values: Sequence[float]) -> float:
    """Of right and wrong answers, one more that has changed is counted: that none has changed of 20 is no proof."""
    if not set(values) <= {-1.0, 0.0, 1.0}:
        return _of_mean(values)
    changed, n = sum(map(abs, values)) + 1, len(values)
    return math.sqrt(changed - math.fsum(values) ** 2 / n) / n


def _of_mean(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def _together(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)


def _binomial(measure: Measure) -> float | None:
    """With one more right and one more wrong answer (Agresti and Coull): all of 20 right leaves a doubt."""
    count = _count(measure)
    if not count or not 0 <= measure.value <= 1:
        return None
    share = (measure.value * count + 1) / (count + 2)
    return math.sqrt(share * (1 - share) / (count + 2))


def _count(measure: Measure) -> int | None:
    return len(measure.examples) if measure.examples else measure.n
