"""The same weight in two adapters: both updates read side by side and written in common bases.

Only triangles outlive a read, so memory is that of the largest pair. One side of some pairs is read before the other,
so that experts read the factor that they share once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

import msgspec
import numpy as np

from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.audit.refusal import quoted, refuse
from gradience.audit.spectra import alignment, blas, spectrum, survey
from gradience.audit.spectra.alignment import Core
from gradience.audit.spectra.balance import raised
from gradience.audit.spectra.bench import Bench, Wide
from gradience.audit.spectra.spectrum import Array

_CHUNK = 32  # pairs, ...
_CHUNK_BYTES = 4 << 20  # ... or as many as have so much in triangles


class Pair(msgspec.Struct, frozen=True):
    """A name that both adapters have."""

    a: Module
    b: Module

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of both updates."""
        a, b = ((module.out_features, module.in_features) for module in (self.a, self.b))
        return a, b


class Aligned(NamedTuple):
    """The updates of a pair in common bases; each is its core times 2**`exponent`."""

    first: Core
    second: Core
    exponent: int


class _Side(NamedTuple):
    """One adapter, and the bench that reads its factors."""

    adapter: Adapter
    bench: Bench


class _Triangle(NamedTuple):
    """The triangle of both adapters' factors beside each other; each of them times 2 to the power of its exponent."""

    values: Array
    exponents: tuple[int, ...]


def aligned(first: Adapter, second: Adapter, pairs: Sequence[Pair]) -> Iterator[Aligned]:
    """The updates of each pair, whose shapes agree.

    Raises:
        AdapterError: a factor is not finite, or cannot be read.
    """
    with blas.one_thread(), ExitStack() as stack:
        modules = ([pair.a for pair in pairs], [pair.b for pair in pairs])
        benches = [stack.enter_context(closing(Bench(its))) for its in modules]
        sides = [_Side(adapter, bench) for adapter, bench in zip((first, second), benches, strict=True)]
        for chunk in _chunks(pairs):
            rights = [_triangle(sides, pair, Bench.inputs) for pair in chunk]
            lefts = [_triangle(sides, pair, Bench.outputs) for pair in chunk]
            yield from map(_aligned, chunk, lefts, rights)


def _chunks(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    largest = max(pair.a.r + pair.b.r for pair in pairs)
    size = max(1, min(_CHUNK, _CHUNK_BYTES // (16 * largest**2)))
    return (pairs[start : start + size] for start in range(0, len(pairs), size))


def _triangle(sides: Sequence[_Side], pair: Pair, read: Callable[[Bench, Module], Wide]) -> _Triangle:
    both = list(zip(sides, (pair.a, pair.b), strict=True))
    factors = [read(side.bench, module) for side, module in both]
    for (side, module), factor in zip(both, factors, strict=True):
        if not survey.is_finite(factor.values):
            wrong = f"NaN or infinity in {quoted(module.name)}"
            raise refuse(side.adapter.files.weights, wrong, "the training diverged: compare an earlier checkpoint")
    columns = np.concatenate([factor.values for factor in factors]).T
    return _Triangle(spectrum.triangle(columns), tuple(factor.exponent for factor in factors))


def _aligned(pair: Pair, left: _Triangle, right: _Triangle) -> Aligned:
    scales = [math.frexp(module.scale) for module in (pair.a, pair.b)]
    powers = [sum(one) for one in zip(left.exponents, right.exponents, (power for _, power in scales), strict=True)]
    highest = max(powers)  # so that the larger update is the one that keeps its size
    cores = zip(alignment.cores(left.values, right.values, pair.a.r), scales, powers, strict=True)
    first, second = (core.times(raised(scale, power - highest)) for core, (scale, _), power in cores)
    return Aligned(first, second, highest)
