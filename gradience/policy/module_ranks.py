"""A rank for every module at the audit's energy level, and the PEFT settings that ask for them.

Each is the lowest rung of the module's ladder that is not below its energy rank: never 0, never above its trained
rank. The alphas keep every module's scale. As all rank advice it is about the trained adapter: a hypothesis to test.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gradience.audit import ladder
from gradience.audit.patterns import Lookup
from gradience.audit.record import AuditRecord, ModuleAudit

_LITERAL: Final = re.compile(r"[A-Za-z0-9_.-]+")  # what a path is made of, and a regular expression takes as it is
OWN_RANK: Final = ("linear", "embedding", "conv", "parameter")  # kinds to which PEFT can give a rank of their own


class ModuleRank(msgspec.Struct, frozen=True, kw_only=True):
    """One module: its rank now and the one suggested, with the alpha that leaves its scale as it is."""

    name: str
    r: int
    energy_rank: int
    suggested_rank: int
    alpha: float
    energy_kept: float


class ModuleRanks(msgspec.Struct, frozen=True, kw_only=True):
    """All modules that can have a rank of their own, and the settings that differ from PEFT's point of view.

    `r` and `lora_alpha` are what most modules get; the patterns name every other one by its full path. `left_out` are
    modules that share a rank with others.
    """

    energy_level: float
    modules: tuple[ModuleRank, ...]
    left_out: tuple[str, ...]
    r: int
    lora_alpha: float
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    params: int  # of the modules at their ranks now
    params_suggested: int
    energy_kept: float  # of the energy of these modules together


def suggest(record: AuditRecord) -> ModuleRanks | None:
    """The suggestion; None where no module can have a rank of its own."""
    able = [module for module in record.modules if module.kind in OWN_RANK]
    if not able:
        return None
    rows = tuple(_row(record, module) for module in able)
    ((r, lora_alpha), _), *_ = Counter((row.suggested_rank, row.alpha) for row in rows).most_common(1)
    others = [row for row in rows if (row.suggested_rank, row.alpha) != (r, lora_alpha)]
    energy = sum(module.energy_share for module in able)
    kept = sum(module.energy_share * row.energy_kept for module, row in zip(able, rows, strict=True))
    return ModuleRanks(
        energy_level=record.energy_level,
        modules=rows,
        left_out=tuple(module.name for module in record.modules if module.kind not in OWN_RANK),
        r=r,
        lora_alpha=lora_alpha,
        rank_pattern=_pattern(rows, {row.name: row.suggested_rank for row in others}),
        alpha_pattern=_pattern(rows, {row.name: row.alpha for row in others}),
        params=sum(module.params for module in able),
        params_suggested=sum(m.params // m.r * row.suggested_rank for m, row in zip(able, rows, strict=True)),
        energy_kept=kept / energy if energy else 1.0,
    )


def settings(ranks: ModuleRanks) -> dict[str, Any]:
    """The fields of an `adapter_config.json` or a `LoraConfig`; whole numbers without a fraction."""
    return {
        "r": ranks.r,
        "lora_alpha": _whole(ranks.lora_alpha),
        "rank_pattern": ranks.rank_pattern,
        "alpha_pattern": {name: _whole(alpha) for name, alpha in ranks.alpha_pattern.items()},
    }


def _row(record: AuditRecord, module: ModuleAudit) -> ModuleRank:
    rank = ladder.at_least(module.energy_rank, module.r)
    divisor = math.sqrt(rank) if record.adapter.use_rslora else rank
    return ModuleRank(
        name=module.name,
        r=module.r,
        energy_rank=module.energy_rank,
        suggested_rank=rank,
        alpha=_tidy(module.scale * divisor),
        energy_kept=1.0 - _lost(record, module, rank),
    )


def _lost(record: AuditRecord, module: ModuleAudit, rank: int) -> float:
    """The share of the module's energy that a cut to `rank` leaves out; its own rank need not be a candidate."""
    return 0.0 if rank == module.r else module.residuals[record.candidate_ranks.index(rank)] ** 2


def _pattern(rows: Iterable[ModuleRank], values: dict[str, Any]) -> dict[str, Any]:
    """Full paths, which every version of PEFT understands; anchored only where one is the end of another module's.

    PEFT takes a key for a regular expression that the end of a path has to match.
    """
    if _is_exact([row.name for row in rows], values):
        return values
    return {f"^{re.escape(name)}": value for name, value in values.items()}


def _is_exact(names: list[str], keys: Mapping[str, object]) -> bool:
    """Whether every module with a key gets its own, and every other module none."""
    if not all(map(_LITERAL.fullmatch, keys)):
        return False
    lookup = Lookup(keys, names)
    return all(lookup.matches(name)[:1] == [name] * (name in keys) for name in names)


def _tidy(number: float) -> float:
    """What is a whole number but for rounding, as that number: 7 / 3 * 3 need not be 7."""
    nearest = round(number)
    return float(nearest) if math.isclose(number, nearest, rel_tol=1e-12) else number


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number
