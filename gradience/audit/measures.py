"""Measures of one spectrum; every function takes the singular values in descending order.

All are free of scale: values are compared with the largest one, never with an absolute threshold. A spectrum of zeros
has no shape: its ranks and residuals are 0. A ratio whose divisor is zero, or lost in rounding, is None.
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
    return sum(squares(values))


def effective_rank(values: Sequence[float]) -> float:
    """exp(-Σ p log p) with p = σ/Σσ (Roy & Vetterli 2007)."""
    total = sum(values)
    if not total:
        return 0.0
    shares = [value / total for value in values]
    return math.exp(-sum(p * math.log(p) for p in shares if p))


def participation_ratio(values: Sequence[float]) -> float:
    """(Σσ²)² / Σσ⁴ (Bell & Dean 1970): over how many directions the energy is spread."""
    parts = squares(values)
    return sum(parts) ** 2 / sum(part * part for part in parts) if any(parts) else 0.0


def nuclear_norm(values: Sequence[float]) -> float:
    """‖ΔW‖_* = Σσ (Fazel 2002 on why it stands in for the rank)."""
    return sum(values)


def nuclear_rank(values: Sequence[float]) -> float:
    """‖ΔW‖_* / ‖ΔW‖₂ = Σσ / σ₁: the stable rank's counterpart in σ, between it and the rank."""
    return sum(value / values[0] for value in values) if values[0] else 0.0


def first_over_second(values: Sequence[float], floor: float) -> float | None:
    """σ₁ / σ₂; None where there is no second value above `floor`, the error bound of small values."""
    return values[0] / values[1] if len(values) > 1 and values[1] > floor else None


def last_over_first(values: Sequence[float]) -> float:
    """σ_r / σ₁, right to `floor` / σ₁: 0 where the update does not reach its rank."""
    return values[-1] / values[0] if values[0] else 0.0


def norm_ratio(a_norm: float, b_norm: float) -> float | None:
    """‖A‖_F / ‖B‖_F; None where B is zero, as it is before training."""
    return _finite(a_norm / b_norm) if b_norm else None


def excess_norm(nuclear: float, a_norm: float, b_norm: float) -> float | None:
    """(‖A‖_F² + ‖B‖_F²) / 2‖B·A‖_* >= 1, with 1 if and only if A and B are balanced (Srebro, Rennie & Jaakkola 2004).

    It is what weight decay on both factors drives down. `nuclear` is ‖B·A‖_*, without the scale; None where it is zero.
    """
    return _finite((a_norm * (a_norm / nuclear) + b_norm * (b_norm / nuclear)) / 2) if nuclear else None


def energy_ranks(values: Sequence[float], levels: Sequence[float]) -> tuple[int, ...]:
    """For each level the least k with Σ_{i≤k} σ² >= level * Σσ²; the truncation error is then at most √(1 - level)."""
    parts = squares(values)
    return tuple(first_reaching(parts, level) for level in levels)


def first_reaching(parts: Sequence[float], level: float) -> int:
    """How many of the leading `parts` make up the share `level` of their sum; 0 when the sum is 0."""
    cumulative = list(accumulate(parts))
    least = level * cumulative[-1] * (1 - _ROUNDING)
    return bisect_left(cumulative, least) + 1 if least else 0


def residuals(values: Sequence[float], ranks: Sequence[int]) -> tuple[float, ...]:
    """‖ΔW - ΔW_k‖_F / ‖ΔW‖_F for each k of `ranks`: the least that rank k allows (Eckart & Young 1936)."""
    tails = [*reversed(list(accumulate(reversed(squares(values))))), 0.0]
    if not tails[0]:
        return (0.0,) * len(ranks)
    return tuple(math.sqrt(tails[min(k, len(values))] / tails[0]) for k in ranks)


def spectral_residuals(values: Sequence[float], ranks: Sequence[int]) -> tuple[float, ...]:
    """‖ΔW - ΔW_k‖₂ / ‖ΔW‖₂ = σ_{k+1} / σ₁ for each k of `ranks`: the least that rank k allows (Mirsky 1960)."""
    return tuple(values[k] / values[0] if k < len(values) and values[0] else 0.0 for k in ranks)


def concentration(parts: Sequence[float]) -> float:
    """Σp² with p the shares of `parts` (Herfindahl & Hirschman): 1 / n when all n are equal, 1 when one has all."""
    total = sum(parts)
    return sum((part / total) ** 2 for part in parts) if total else 0.0


def squares(values: Sequence[float]) -> list[float]:
    """The square of each value as a multiple of that of the largest, in any order; zeros for zeros alone."""
    largest = max(values)
    return [(ratio := value / largest) * ratio for value in values] if largest else [0.0] * len(values)


def _finite(ratio: float) -> float | None:
    return ratio if math.isfinite(ratio) else None
