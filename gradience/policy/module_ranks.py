"""A rank for every module, so that all together keep the audit's energy level, and the PEFT settings that ask for them.

Directions are pooled over the model (`allocation`): never 0, never above the trained rank. The alphas keep every
module's scale. As all rank advice it is about the trained adapter: a hypothesis to test.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gradience.audit.disk import module as disk
from gradience.audit.disk import patterns
from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.policy import allocation
from gradience.policy.allocation import Item


class ModuleRank(msgspec.Struct, frozen=True, kw_only=True):
    """What PEFT gives one rank to: its rank now and the one suggested, with the alpha that leaves its scale as it is.

    That is a module, or all experts of a parameter, or both projections of a MultiheadAttention: they are weighed
    together.
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

    `r` is the largest rank, which servers make room for, and `lora_alpha` that of most who have it; the patterns name
    every other one by its full path.
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
    groups, ranks = grouped(record), allocation.pooled(items(record), record.energy_level)
    rows = tuple(_rows(record, groups, dict(zip(groups, ranks, strict=True))))
    r = max(ranks)
    ((lora_alpha, _),) = Counter(row.alpha for row in rows if row.suggested_rank == r).most_common(1)
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
        params_suggested=allocation.price(items(record), ranks),
        energy_kept=_kept(record.modules, {row.name: row.suggested_rank for row in rows}),
    )


def grouped(record: AuditRecord) -> dict[str, list[ModuleAudit]]:
    """The modules that share a rank, by the name under which PEFT looks it up; without those that repeat another."""
    groups: dict[str, list[ModuleAudit]] = {}
    for module in record.modules:
        if not _is_copy(module):
            groups.setdefault(owner(module), []).append(module)
    return groups


def items(record: AuditRecord) -> list[Item]:
    """What each of these groups holds and costs, direction by direction."""
    return [_item(modules) for modules in grouped(record).values()]


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


def _is_copy(module: ModuleAudit) -> bool:
    """Whether it has a tied embedding's factors, whose parameters are counted there."""
    return module.params == 0


def _rows(
    record: AuditRecord, groups: Mapping[str, Sequence[ModuleAudit]], ranks: Mapping[str, int]
) -> Iterable[ModuleRank]:
    for name, modules in groups.items():
        yield _row(record, name, modules, ranks[name])
    by_shape = {(one.out_features, one.in_features): ranks[name] for name, (one, *_) in groups.items()}
    for module in filter(_is_copy, record.modules):
        yield _row(record, owner(module), [module], by_shape[module.in_features, module.out_features])


def _item(modules: Sequence[ModuleAudit]) -> Item:
    energies = (math.fsum(value**2 for value in values) for values in zip(*map(_values, modules), strict=True))
    return Item(tuple(energies), sum(module.params // module.r for module in modules))


def _values(module: ModuleAudit) -> Sequence[float]:
    """Its singular values as shares of the whole adapter's norm: their squares neither overflow nor vanish."""
    norm, share = module.delta_fro_norm, math.sqrt(module.energy_share)
    return [value / norm * share if norm else 0.0 for value in module.singular_values]


def _row(record: AuditRecord, name: str, modules: Sequence[ModuleAudit], rank: int) -> ModuleRank:
    energy_rank, r = max(module.energy_rank for module in modules), modules[0].r
    divisor = math.sqrt(rank) if record.adapter.use_rslora else rank
    return ModuleRank(
        name=name,
        sharing=len(modules),
        r=r,
        energy_rank=energy_rank,
        suggested_rank=rank,
        alpha=_tidy(modules[0].scale * divisor),
        energy_kept=_kept(modules, {name: rank}),
    )


def _kept(modules: Sequence[ModuleAudit], ranks: Mapping[str, int]) -> float:
    """The share of the modules' energy that is left; all of it where there is none."""
    energy = math.fsum(value**2 for module in modules for value in _values(module))
    lost = math.fsum(value**2 for module in modules for value in _values(module)[ranks[owner(module)] :])
    return 1.0 - lost / energy if energy else 1.0


def _tidy(number: float) -> float:
    """What is a whole number but for rounding, as that number: 7 / 3 * 3 need not be 7."""
    nearest = round(number)
    return float(nearest) if math.isclose(number, nearest, rel_tol=1e-12) else number


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number
