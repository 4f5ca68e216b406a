"""The rules over an audit: two gates that withhold rank advice, and what may be said when neither is shut.

Utilization (stable rank / r) takes part in no verdict: it is as low in adapters whose rank is half of what the task
needs as in those with ten times too much.
"""

from collections.abc import Callable
from itertools import groupby
from statistics import median
from typing import Final

import msgspec

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.policy import allocation, check_rules, module_ranks, ranks, serving
from gradience.policy.rule import Finder, Match, Thresholds
from gradience.vnext.types import ConfigSnapshot, Severity

PLAIN_INITS: Final = frozenset({"true", "gaussian", "eva", "orthogonal", "mica"})  # their B @ A starts at zero
NAMES_SHOWN: Final = 10


class Earlier(msgspec.Struct, frozen=True):
    """An audit of an earlier checkpoint of the run: its step, and the p90 over modules of the 95 % energy rank."""

    step: int
    energy_rank: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the run that trained the adapter."""

    config: ConfigSnapshot = ConfigSnapshot()
    never_improved: bool = False  # as the detector of that name judges its held-out losses
    earlier: Earlier | None = None  # the latest audit before this one


class AuditCase(msgspec.Struct, frozen=True, kw_only=True):
    """An audit, and the run that it belongs to."""

    record: AuditRecord
    suggestion: ranks.RankSuggestion
    run: Run = Run()
    copies: int | None = None  # adapters of the kind that are served, where somebody says


class BrokenCase(msgspec.Struct, frozen=True):
    """An adapter of `modules` modules that cannot be measured, and which of them are not finite."""

    names: tuple[str, ...]
    modules: int


def adapter_nonfinite(case: BrokenCase, _: Thresholds) -> Match | None:
    """NaN or infinity in any factor."""
    if not case.names:
        return None
    facts = {"count": len(case.names), "modules": case.modules, "first": case.names[0]}
    return Match(facts={**facts, "names": list(case.names[:NAMES_SHOWN])}, scope="modules")


def adapter_untrained(case: AuditCase, _: Thresholds) -> Match | None:
    """Every update is exactly zero."""
    if any(module.delta_fro_norm for module in case.record.modules):
        return None
    return Match(facts={"modules": len(case.record.modules)})


def audit_abstained(case: AuditCase, limits: Thresholds) -> Match | None:
    """The spectrum is not that of the change, or says nothing of the trained rank, or the change is not finished."""
    tested = (
        _init_reason(case),
        _difference_reason(case),
        _dora_reason(case),
        _pruned_reason(case),
        _early_reason(case, limits),
        _run_reason(case),
        _moving_reason(case, limits),
    )
    reasons = [reason for reason in tested if reason is not None]
    return Match(facts={"reason": "; ".join(reasons), "reasons": reasons}) if reasons else None


def over_provisioned(case: AuditCase, _: Thresholds) -> Match | None:
    """The p90 energy rank, on the ladder, is at most half of the trained rank."""
    asked = case.suggestion
    if asked.suggested_rank is None:
        return None
    table = ranks.candidates(case.record)
    cut = next(row for row in table if row.rank == asked.suggested_rank)
    facts = {
        "suggested_rank": cut.rank,
        "current_r": asked.current_r,
        "energy_level": asked.energy_level,
        "energy_kept": cut.energy_kept,
        "relative_error": cut.relative_error,
        "worst_error": cut.worst_error,
        "worst_module": cut.worst_module,
        "params_saved": table[-1].params - cut.params,
        "params_saved_share": 1.0 - cut.params / table[-1].params,
        "savings": serving.savings(table[-1].size_bytes, cut.size_bytes, (asked.current_r, cut.rank), case.copies),
        "copies": case.copies or 1,
    }
    return Match(facts=facts, severity=Severity.WARNING if case.copies else None)


def flat_spectrum(case: AuditCase, limits: Thresholds) -> Match | None:
    """Most of the update's energy sits in modules that use their rank to the end."""
    share = _energy_share(case.record, lambda module: _is_flat(module, limits))
    return Match(facts={"flat_share": share}) if share >= limits["flat_share_min"] else None


def rank1_dominated(case: AuditCase, limits: Thresholds) -> Match | None:
    """One direction holds nearly all of most modules' energy; 1 / stable rank is the first direction's share."""
    share = _energy_share(case.record, lambda module: _is_rank1(module, limits))
    return Match(facts={"dominated_share": share}) if share >= limits["dominated_share_min"] else None


def dead_modules(case: AuditCase, limits: Thresholds) -> Match | None:
    """Modules whose update is far smaller than is usual for their type, or next to nothing beside their weight."""
    dead = [module.name for group in _by_type(case.record) for module in _quiet(group, limits)]
    if not dead or len(dead) == len(case.record.modules):  # where none moved, none is left behind by the others
        return None
    facts = {"count": len(dead), "first": dead[0], "names": dead[:NAMES_SHOWN]}
    return Match(facts=facts, scope="modules")


def energy_concentrated(case: AuditCase, limits: Thresholds) -> Match | None:
    """The Herfindahl index of the layers' energies is a multiple of what an even spread would give."""
    layers, hhi = case.record.by_layer, case.record.summary.layer_energy_hhi
    if not layers or hhi <= limits["times_even"] / len(layers):
        return None
    top = sorted(layers, key=lambda layer: layer.energy_share, reverse=True)[: max(1, len(layers) // 10)]
    share = sum(layer.energy_share for layer in top) / sum(layer.energy_share for layer in layers)
    names = [layer.name for layer in top[:NAMES_SHOWN]]
    facts = {"hhi": hhi, "layers": len(layers), "top_layers": names, "top_count": len(top), "top_share": share}
    return Match(facts=facts, scope="layers")


def uneven_rank_use(case: AuditCase, limits: Thresholds) -> Match | None:
    """Ranks of their own keep the energy with clearly fewer parameters than the least rank for all that keeps it."""
    items, level = module_ranks.items(case.record), case.record.energy_level
    if not all(item.energies for item in items):
        return None
    given, uniform = allocation.pooled(items, level), allocation.uniform(items, level)
    saved = 1.0 - allocation.price(items, given) / allocation.price(items, [uniform] * len(items))
    if saved < limits["saved_share_min"]:
        return None
    names = sorted(zip(given, module_ranks.grouped(case.record), strict=True), reverse=True)[:NAMES_SHOWN]
    facts = {"uniform_rank": uniform, "least": min(given), "most": max(given), "saved_share": saved}
    return Match(facts={**facts, "energy_level": level, "names": [name for _, name in names]}, scope="modules")


def capacity_low(case: AuditCase, limits: Thresholds) -> Match | None:
    """Fewer parameters than tokens that were learned from, where the run's configuration counts those."""
    tokens, params = check_rules.completion_tokens(case.run.config), case.record.summary.total_lora_params
    if tokens is None or params >= limits["params_per_token_min"] * tokens:
        return None
    return Match(facts={"params": params, "tokens": tokens})


def update_dominant(case: AuditCase, limits: Thresholds) -> Match | None:
    """Updates that reach a share of their base weights' spectral norm, among modules that carry energy."""
    least = limits["even_share_min"] / len(case.record.modules)
    found = [(module.udr or 0.0, module.name) for module in case.record.modules if module.energy_share >= least]
    large = sorted((pair for pair in found if pair[0] >= limits["udr_info"]), reverse=True)
    if not large:
        return None
    udr, first = large[0]
    bars = {Severity.ERROR: limits["udr_error"], Severity.WARNING: limits["udr_warning"]}
    severity = next((severity for severity, bar in bars.items() if udr >= bar), Severity.INFO)
    facts = {"udr": udr, "first": first, "count": len(large), "names": [name for _, name in large[:NAMES_SHOWN]]}
    return Match(facts=facts, severity=severity, scope="modules")


def _init_reason(case: AuditCase) -> str | None:
    init = str(case.record.adapter.init_lora_weights).lower()
    if init in PLAIN_INITS or case.record.adapter.initial is not None:
        return None
    return f"init_lora_weights={init} starts from B @ A that is not zero, so the factors are not the change alone"


def _difference_reason(case: AuditCase) -> str | None:
    if case.record.adapter.initial is None:
        return None
    return "the change is the difference of two adapters, of up to twice the rank: it suggests no rank for either"


def _dora_reason(case: AuditCase) -> str | None:
    if not case.record.adapter.use_dora:
        return None
    return "DoRA rescales the sum of base weight and B @ A, so the spectrum of B @ A is not that of its update"


def _pruned_reason(case: AuditCase) -> str | None:
    if case.record.adapter.peft_type != "ADALORA":
        return None
    return "AdaLoRA chose the ranks while it trained: a direction that it pruned is zero by design"


def _early_reason(case: AuditCase, limits: Thresholds) -> str | None:
    step, planned = case.record.adapter.step, case.run.config.training.max_steps
    if step is None or not planned or step >= limits["planned_share_min"] * planned:
        return None
    return f"step {step} of {planned} planned: the spectrum is still forming and moves either way"


def _run_reason(case: AuditCase) -> str | None:
    if not case.run.never_improved:
        return None
    return "the held-out loss of its run never improved, and an adapter that learned nothing has a tidy spectrum too"


def _moving_reason(case: AuditCase, limits: Thresholds) -> str | None:
    before, step = case.run.earlier, case.record.adapter.step
    if before is None or step is None or before.step >= step:
        return None
    now, then = case.record.summary.energy_rank_95_p90, before.energy_rank
    if abs(now - then) <= max(limits["moved_ranks_max"], limits["moved_share_max"] * then):
        return None
    return f"the spectrum still moves: p90 of k@95 went from {then:.3g} at step {before.step} to {now:.3g}"


def _is_flat(module: ModuleAudit, limits: Thresholds) -> bool:
    return (
        module.energy_rank_99 >= limits["k99_share_min"] * module.r
        and module.energy_rank_90 >= limits["k90_share_min"] * module.r
    )


def _is_rank1(module: ModuleAudit, limits: Thresholds) -> bool:
    return module.r >= limits["r_min"] and 0.0 < module.stable_rank <= 1.0 / limits["first_share_min"]


def _energy_share(record: AuditRecord, holds: Callable[[ModuleAudit], bool]) -> float:
    return sum(module.energy_share for module in record.modules if holds(module))


def _by_type(record: AuditRecord) -> list[list[ModuleAudit]]:
    ordered = sorted(record.modules, key=lambda module: module.module_type)
    return [list(group) for _, group in groupby(ordered, key=lambda module: module.module_type)]


def _quiet(group: list[ModuleAudit], limits: Thresholds) -> list[ModuleAudit]:
    least = limits["norm_share_max"] * median(module.delta_fro_norm for module in group)
    return [
        module
        for module in group
        if module.delta_fro_norm < least or (module.udr_f is not None and module.udr_f < limits["base_share_max"])
    ]


UNMEASURED: Final[tuple[Finder[BrokenCase], ...]] = (adapter_nonfinite,)


def intruder_dims(case: AuditCase, limits: Thresholds) -> Match | None:
    """Directions that lead the changed weight and were none of the weight's before."""
    found = [one for one in case.record.modules if one.intruders is not None and one.intruders >= limits["count_min"]]
    if not found:
        return None
    total = sum(one.intruders or 0 for one in found)
    searched = sum(one.intruders is not None for one in case.record.modules)
    facts = {"count": total, "modules": len(found), "searched": searched, "first": found[0].name}
    return Match(facts={**facts, "names": [one.name for one in found[:NAMES_SHOWN]]}, scope="modules")


# Where one of these applies, the others say nothing.
GATES: Final[tuple[Finder[AuditCase], ...]] = (adapter_untrained, audit_abstained)
RULES: Final[tuple[Finder[AuditCase], ...]] = (
    over_provisioned,
    flat_spectrum,
    rank1_dominated,
    dead_modules,
    energy_concentrated,
    uneven_rank_use,
    capacity_low,
    update_dominant,
    intruder_dims,
)
