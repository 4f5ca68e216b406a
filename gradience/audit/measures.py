"""Measures of one spectrum; every function takes the singular values in descending order.

All are free of scale: values are compared with the largest one, never with an absolute threshold. A spectrum of zeros
has no shape: its ranks and residuals are 0.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

_ROUNDING = 1e-12  # a cumulative share this close below a level reaches it, so that no rank flips between BLAS builds


def fro_norm(values: Sequence[float]) -> float:
    """‖ΔW‖_F = (Σσ²)^½, without overflow or underflow of the squares."""
    return math.hypot(*values)


def stable_rank(values: Sequence[float]) -> float:
    """‖ΔW‖_F² / ‖ΔW‖₂² (Rudelson & Vershynin 2007): the reciprocal of the share of energy in the first direction."""
    return sum(energies(values))


def effective_rank(values: Sequence[float]) -> float:
    """exp(-Σ p log p) with p = σ/Σσ (Roy & Vetterli 2007)."""
    total = sum(values)
    if not total:
        return 0.0
    shares = [value / total for value in values]
    return math.exp(-sum(p * math.log(p) for p in shares if p))


def energy_ranks(values: Sequence[float], levels: Sequence[float]) -> tuple[int, ...]:
    """For each level the least k with Σ_{i≤k} σ² >= level * Σσ²; the truncation error is then at most √(1 - level)."""
    parts = energies(values)
    return tuple(first_reaching(parts, level) for level in levels)


def first_reaching(parts: Sequence[float], level: float) -> int:
    """How many of the leading `parts` make up the share `level` of their sum; 0 when the sum is 0."""
    cumulative = list(accumulate(parts))
    least = level * cumulative[-1] * (1 - _ROUNDING)
    return bisect_left(cumulative, least) + 1 if least else 0


def residuals(values: Sequence[float], ranks: Sequence[int]) -> tuple[float, ...]:
    """‖ΔW - ΔW_k‖_F / ‖ΔW‖_F for each k of `ranks`: the least that rank k allows (Eckart & Young 1936)."""
    tails = [*reversed(list(accumulate(reversed(energies(values))))), 0.0]
    if not tails[0]:
        return (0.0,) * len(ranks)
    return tuple(math.sqrt(tails[min(k, len(values))] / tails[0]) for k in ranks)


def energies(values: Sequence[float]) -> list[float]:
    """Each σ² as a multiple of the largest; zeros for a spectrum of zeros."""
    return [(value / values[0]) ** 2 if values[0] else 0.0 for value in values]
