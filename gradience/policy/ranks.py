"""The ranks that an adapter could be compressed to after training. Nothing here says that training would do with less.

A suggestion is a rung of the ladder up to the trained rank: never below the energy rank it stands for, never above
the trained rank, never 0.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from gradience.audit import ladder, measures
from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.audit.tensors.safetensors_file import ITEM_BYTES
from gradience.policy import catalogue, serving
from gradience.policy.rule import Thresholds

CODE: Final = "over_provisioned"  # the rule whose thresholds say which rank is worth testing


class RankSuggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What the energy ranks at `energy_level` suggest for compression.

    `suggested_rank` is the p90 suggestion where it is worth testing (by default at most half of a trained rank of at
    least 8), else None; `energy_kept` is the share of the whole adapter's energy left at that rank.
    """

    energy_level: float
    current_r: int  # the largest module's
    suggested_rank_median: int
    suggested_rank_p90: int  # p90 over modules weighted by their energy, of the kind that needs the most
    suggested_rank: int | None
    energy_kept: float | None
    rank_waste: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole adapter cut to one rank: the best approximation of that rank, module by module (Eckart-Young)."""

    rank: int
    energy_kept: float
    relative_error: float  # sqrt(1 - energy_kept), of the update in Frobenius norm
    spectral_error: float  # of the same cut in the spectral norm, as a share of the largest singular value
    worst_error: float  # relative_error of the worst single module
    worst_module: str
    params: int
    size_bytes: int | None  # None where the stored type is not known
    slot: int | None  # the least max_lora_rank of vLLM that takes it; None above all of them


def suggest(record: AuditRecord, limits: Thresholds | None = None) -> RankSuggestion:
    """Suggest ranks for compression at the record's energy level; `limits` are the thresholds of `over_provisioned`."""
    limits = limits or catalogue.shipped().thresholds(CODE)
    current = max(module.r for module in record.modules)
    p90 = ladder.at_least(max(_weighted_p90(modules) for modules in _kinds(record)), current)
    worth_it = current >= limits["r_min"] and p90 <= limits["share_of_r_max"] * current
    return RankSuggestion(
        energy_level=record.energy_level,
        current_r=current,
        suggested_rank_median=ladder.at_least(record.summary.energy_rank_p50, current),
        suggested_rank_p90=p90,
        suggested_rank=p90 if worth_it else None,
        energy_kept=record.energy_kept[record.candidate_ranks.index(p90)] if worth_it else None,
        rank_waste=record.summary.rank_waste,
    )


def candidates(record: AuditRecord) -> list[Candidate]:
    """What the adapter would be at each candidate rank; a module whose rank is already lower stays as it is."""
    return [_candidate(record, index, rank) for index, rank in enumerate(record.candidate_ranks)]


def _kinds(record: AuditRecord) -> list[list[ModuleAudit]]:
    """All modules, and each kind apart that could lose more energy than the level gives away.

    The rank of embeddings and experts follows which tokens they saw: in one quantile with the rest, either would hide
    the other.
    """
    by_kind: dict[str, list[ModuleAudit]] = {}
    for module in record.modules:
        by_kind.setdefault(_kind(module), []).append(module)
    spared = 1.0 - record.energy_level
    heavy = [some for some in by_kind.values() if math.fsum(module.energy_share for module in some) > spared]
    return [list(record.modules), *heavy]


def _kind(module: ModuleAudit) -> str:
    apart = module.kind in ("embedding", "conv", "expert")
    return module.kind if apart else "embedding" if module.module_type == "embedding" else "projection"


def _weighted_p90(modules: Sequence[ModuleAudit]) -> float:
    """The least energy rank k such that modules with one up to k hold 90 % of their energy."""
    ordered = sorted((module.energy_rank, module.energy_share) for module in modules)
    reach = measures.first_reaching([share for _, share in ordered], 0.9)
    return float(ordered[reach - 1][0]) if reach else 0.0


def _candidate(record: AuditRecord, index: int, rank: int) -> Candidate:
    worst = max(record.modules, key=lambda module: module.residuals[index])
    params = sum(_params_at(module, rank) for module in record.modules)
    size = ITEM_BYTES.get(record.adapter.dtype or "")
    return Candidate(
        rank=rank,
        energy_kept=record.energy_kept[index],
        relative_error=math.sqrt(max(0.0, 1.0 - record.energy_kept[index])),
        spectral_error=record.spectral_residuals[index],
        worst_error=worst.residuals[index],
        worst_module=worst.name,
        params=params,
        size_bytes=None if size is None else params * size,
        slot=serving.slot(rank),
    )


def _params_at(module: ModuleAudit, rank: int) -> int:
    return module.params // module.r * min(rank, module.r)
