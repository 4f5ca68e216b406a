"""How two updates B·A lie to each other, from their factors alone: nothing of the size of a weight is ever formed.

One QR of [A₁; A₂]ᵀ and one of [B₁, B₂] write both updates in common orthonormal bases, as cores of at most r₁ + r₂
rows and columns. Every measure here does not change under such bases, so it is that of the updates. The difference is
taken between the cores: the expansion ‖ΔW₁‖² - 2⟨ΔW₁, ΔW₂⟩ + ‖ΔW₂‖² would lose half the digits of close updates.

Pure: float64 arrays in, plain numbers out.
"""

import math
from typing import NamedTuple

import numpy as np

from gradience.audit import measures
from gradience.audit.spectra import spectrum
from gradience.audit.spectra.spectrum import Array

ENERGY_LEVEL = 0.95  # the share of an update's energy that its leading directions hold, where their number is not given


class Core(NamedTuple):
    """One update in the common bases; no σ of it is off by more than `floor`."""

    values: Array
    floor: float

    @property
    def norm(self) -> float:
        """Its Frobenius norm."""
        return float(np.linalg.norm(self.values))

    def times(self, factor: float) -> "Core":
        """The core of a multiple of the update."""
        return Core(self.values * factor, self.floor * abs(factor))


class Subspaces(NamedTuple):
    """The leading directions of two updates: how many, what sets them apart, and their angles in degrees, ascending."""

    ks: tuple[int, int]
    gaps: tuple[float | None, float | None]  # 1 - σ(k+1) / σ(k): where it is small, other directions are as good
    left: tuple[float, ...]
    right: tuple[float, ...]


class _Leading(NamedTuple):
    """The leading directions of one update, as orthonormal columns."""

    k: int
    gap: float | None
    left: Array
    right: Array


def cores(left: Array, right: Array, r: int) -> tuple[Core, Core]:
    """Both updates in common bases, from the triangles of [B₁, B₂] and [A₁; A₂]ᵀ; `r` is the rank of the first."""
    first, second = (
        Core(left[:, part] @ right[:, part].T, spectrum.exact_floor(left[:, part], right[:, part]))
        for part in (slice(None, r), slice(r, None))
    )
    return first, second


def cosine(first: Core, second: Core) -> float | None:
    """⟨ΔW₁, ΔW₂⟩ / ‖ΔW₁‖‖ΔW₂‖; None where one of them is zero."""
    norms = first.norm * second.norm
    if not norms:
        return None
    return max(-1.0, min(1.0, float((first.values * second.values).sum()) / norms))


def distance(first: Core, second: Core) -> float:
    """‖ΔW₁ - ΔW₂‖_F, right to the sum of both floors."""
    return float(np.linalg.norm(first.values - second.values))


def subspaces(first: Core, second: Core, k: int | None = None) -> Subspaces:
    """The leading `k` directions of both, or as many as hold 95 % of each one's energy; never more than it has."""
    one, other = (_leading(core, k) for core in (first, second))
    return Subspaces(
        ks=(one.k, other.k),
        gaps=(one.gap, other.gap),
        left=angles(one.left, other.left),
        right=angles(one.right, other.right),
    )


def angles(first: Array, second: Array) -> tuple[float, ...]:
    """The principal angles between the spans of orthonormal columns, in degrees (Björck & Golub 1973).

    There are as many as the smaller span has dimensions. Small ones come from their sines: an arc cosine near 1 has
    half the digits.
    """
    small, large = sorted((first, second), key=lambda columns: columns.shape[1])
    if not small.shape[1]:
        return ()
    shared = large.T @ small
    cosines = np.linalg.svd(shared, compute_uv=False).clip(max=1.0)
    sines = np.linalg.svd(small - large @ shared, compute_uv=False).clip(max=1.0)[::-1]
    found = np.where(cosines**2 > 0.5, np.arcsin(sines), np.arccos(cosines))
    return tuple(np.degrees(found).tolist())


def overlap(found: tuple[float, ...]) -> float | None:
    """The mean of the squared cosines of angles in degrees; None where there are none."""
    return sum(math.cos(math.radians(angle)) ** 2 for angle in found) / len(found) if found else None


def _leading(core: Core, k: int | None) -> _Leading:
    left, sigma, right = np.linalg.svd(core.values, full_matrices=False)
    values = sigma.tolist()
    wanted = measures.energy_ranks(values, (ENERGY_LEVEL,))[0] if k is None else k
    k = min(wanted, sum(value > core.floor for value in values))
    gap = 1.0 - (values[k] / values[k - 1] if k < len(values) else 0.0) if k else None
    return _Leading(k, gap, left[:, :k], right[:k].T)
