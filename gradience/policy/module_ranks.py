"""A rank for every module at the audit's energy level, and the PEFT settings that ask for them.

Each is the lowest rung of the module's ladder that is not below its energy rank: never 0, never above its trained
rank. The alphas keep every module's scale. As all rank advice it is about the trained adapter: a hypothesis to test.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gradience.audit import ladder
from gradience.audit.disk import module as disk
from gradience.audit.disk import patterns
from gradience.audit.record import AuditRecord, ModuleAudit


class ModuleRank(msgspec.Struct, frozen=True, kw_only=True):
    """What PEFT gives one rank to: its rank now and the one suggested, with the alpha that leaves its scale as it is.

    That is a module, or all experts of a parameter, or both projections of a MultiheadAttention: the most demanding of
    them decides.
    """

    name: str
    sharing: int  # how many modules of the audit it is
    r: int
    energy_rank: int
    suggested_rank: int
    alpha: float
    energy_kept: float


class ModuleRanks(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, and the settings that ask for them.

    `r` and `lora_alpha` are what most get; the patterns name every other one by its full path.
    """

    energy_level: float
    modules: tuple[ModuleRank, ...]
    r: int
    lora_alpha: float
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    params: int  # at the ranks now
    params_suggested: int
    energy_kept: float


def suggest(record: AuditRecord) -> ModuleRanks:
    """Suggest a rank for everything that can have one of its own."""
    groups: dict[str, list[ModuleAudit]] = {}
    for module in record.modules:
        groups.setdefault(owner(module), []).append(module)
    rows = tuple(_row(record, name, modules) for name, modules in groups.items())
    ((r, lora_alpha), _), *_ = Counter((row.suggested_rank, row.alpha) for row in rows).most_common(1)
    others = [row for row in rows if (row.suggested_rank, row.alpha) != (r, lora_alpha)]
    names = [row.name for row in rows]
    return ModuleRanks(
        energy_level=record.energy_level,
        modules=rows,
        r=r,
        lora_alpha=lora_alpha,
        rank_pattern=patterns.exact({row.name: row.suggested_rank for row in others}, names),
        alpha_pattern=patterns.exact({row.name: row.alpha for row in others}, names),
        params=record.summary.total_lora_params,
        params_suggested=sum(
            module.params // module.r * row.suggested_rank for row in rows for module in groups[row.name]
        ),
        energy_kept=_kept(record, record.modules, {row.name: row.suggested_rank for row in rows}),
    )


def owner(module: ModuleAudit) -> str:
    """The name by which PEFT looks up the module's rank."""
    return disk.owner(module.name, module.kind)


def settings(ranks: ModuleRanks) -> dict[str, Any]:
    """The fields of an `adapter_config.json` or a `LoraConfig`; whole numbers without a fraction."""
    return {
        "r": ranks.r,
        "lora_alpha": _whole(ranks.lora_alpha),
        "rank_pattern": ranks.rank_pattern,
        "alpha_pattern": {name: _whole(alpha) for name, alpha in ranks.alpha_pattern.items()},
    }


def _row(record: AuditRecord, name: str, modules: Sequence[ModuleAudit]) -> ModuleRank:
    energy_rank, r = max(module.energy_rank for module in modules), modules[0].r
    rank = ladder.at_least(energy_rank, r)
    divisor = math.sqrt(rank) if record.adapter.use_rslora else rank
    return ModuleRank(
        name=name,
        sharing=len(modules),
        r=r,
        energy_rank=energy_rank,
        suggested_rank=rank,
        alpha=_tidy(modules[0].scale * divisor),
        energy_kept=_kept(record, modules, {name: rank}),
    )


def _kept(record: AuditRecord, modules: Sequence[ModuleAudit], ranks: Mapping[str, int]) -> float:
    """The share of the modules' energy that is left; all of it where there is none."""
    energy = sum(module.energy_share for module in modules)
    lost = sum(module.energy_share * _lost(record, module, ranks[owner(module)]) for module in modules)
    return 1.0 - lost / energy if energy else 1.0


def _lost(record: AuditRecord, module: ModuleAudit, rank: int) -> float:
    """The share of the module's energy that a cut to `rank` leaves out; its own rank need not be a candidate."""
    return 0.0 if rank == module.r else module.residuals[record.candidate_ranks.index(rank)] ** 2


def _tidy(number: float) -> float:
    """What is a whole number but for rounding, as that number: 7 / 3 * 3 need not be 7."""
    nearest = round(number)
    return float(nearest) if math.isclose(number, nearest, rel_tol=1e-12) else number


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number
