"""The rules over an audit: two gates that withhold rank advice, and what may be said when neither is shut.

Utilization (stable rank / r) takes part in no verdict: it is as low in adapters whose rank is half of what the task
needs as in those with ten times too much.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from statistics import median
from typing import Final

import msgspec

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.policy import ranks
from gradience.policy.rule import Match, Rule
from gradience.vnext.types import Severity

Thresholds = Mapping[str, float]

PLAIN_INITS: Final = frozenset({"true", "gaussian", "eva", "orthogonal", "mica"})  # their B @ A starts at zero
NAMES_SHOWN: Final = 10


class AuditCase(msgspec.Struct, frozen=True, kw_only=True):
    """An audit and what is known of the run that it belongs to."""

    record: AuditRecord
    suggestion: ranks.RankSuggestion
    planned_steps: int | None = None


def untrained(case: AuditCase, _: Thresholds) -> Match | None:
    """Every update is exactly zero."""
    if any(module.delta_fro_norm for module in case.record.modules):
        return None
    return Match(facts={"modules": len(case.record.modules)})


def abstained(case: AuditCase, limits: Thresholds) -> Match | None:
    """The spectrum is not that of the change, or says nothing of the trained rank, or the change is not finished."""
    tested = (_init_reason(case), _difference_reason(case), _dora_reason(case), _early_reason(case, limits))
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
        "way": _way_to_compress(case.record, cut.rank),
    }
    return Match(facts=facts)


def flat_spectrum(case: AuditCase, limits: Thresholds) -> Match | None:
    """Most of the update's energy sits in modules that use their rank to the end."""
    share = _energy_share(case.record, lambda module: _is_flat(module, limits))
    return Match(facts={"flat_share": share}) if share >= limits["flat_share_min"] else None


def rank1_dominated(case: AuditCase, limits: Thresholds) -> Match | None:
    """One direction holds nearly all of most modules' energy; 1 / stable rank is the first direction's share."""
    share = _energy_share(case.record, lambda module: _is_rank1(module, limits))
    return Match(facts={"dominated_share": share}) if share >= limits["dominated_share_min"] else None


def dead_modules(case: AuditCase, limits: Thresholds) -> Match | None:
    """Modules whose update is far smaller than is usual for their type."""
    dead = [module.name for group in _by_type(case.record) for module in _quiet(group, limits["norm_share_max"])]
    if not dead:
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


def _way_to_compress(record: AuditRecord, rank: int) -> str:
    """How to get the adapter that would test the suggestion; PEFT's own conversion takes linear layers of LoRA."""
    kinds = sorted({module.kind for module in record.modules} - {"linear"})
    if record.adapter.peft_type == "LORA" and not kinds:
        return f"With PEFT >= 0.19: save_as_lora(OUT, model, rank={rank})"
    what = " and ".join(kinds) or record.adapter.peft_type
    return f"Cut each module's update to rank {rank} by SVD (PEFT's save_as_lora does not take {what})"


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


def _early_reason(case: AuditCase, limits: Thresholds) -> str | None:
    step, planned = case.record.adapter.step, case.planned_steps
    if step is None or not planned or step >= limits["planned_share_min"] * planned:
        return None
    return f"step {step} of {planned} planned: the spectrum is still forming and moves either way"


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


def _quiet(group: list[ModuleAudit], share: float) -> list[ModuleAudit]:
    usual = median(module.delta_fro_norm for module in group)
    return [module for module in group if module.delta_fro_norm < share * usual]


GATES: Final[tuple[Rule[AuditCase], ...]] = (
    Rule(
        code="adapter_untrained",
        severity=Severity.ERROR,
        confidence="certain",
        find=untrained,
        message="The update is zero in all {modules} modules: the adapter is in its initial state.",
        source="PEFT initialises B to zero",
        hypothesis="The adapter was saved before the first optimiser step, or its weights received no gradient.",
        test="Load the adapter: its outputs equal those of the base model.",
        limits="No rank advice can be given.",
    ),
    Rule(
        code="audit_abstained",
        severity=Severity.INFO,
        confidence="certain",
        find=abstained,
        message="Rank advice withheld: {reason}.",
        source="PEFT's documentation of its initialisations; toy runs: k@90 at 10% of training is off by 2x both ways",
        thresholds={"planned_share_min": 0.2},
        limits="The spectra are recorded for reference only.",
    ),
)

RULES: Final[tuple[Rule[AuditCase], ...]] = (
    Rule(
        code="over_provisioned",
        severity=Severity.INFO,
        confidence="medium",
        find=over_provisioned,
        message="{energy_level:.0%} of the update energy of 90% of the modules (weighted by energy) fits in "
        "rank {suggested_rank} (trained: {current_r}).",
        source="PEFT lora_conversion table: 95% energy cost 0.3 points, 90% 1.4; r/2 and p90 are heuristics "
        "(planted ranks: 44 of 54 found, 2 of 12 false at the exact rank, 0 of 6 below it)",
        thresholds={"share_of_r_max": ranks.WORTH_TESTING_SHARE, "r_min": ranks.WORTH_TESTING_RANK, "quantile": 0.9},
        hypothesis="Compressing the trained adapter to rank {suggested_rank} keeps held-out quality: {energy_kept:.1%} "
        "of the energy stays, {params_saved_share:.0%} of the parameters go.",
        test="{way}; then the same held-out evaluation "
        "of both adapters. A drop beyond one standard error, or 0.5% of the metric, refutes it.",
        limits="Not shown: that training at rank {suggested_rank} would do as well. Energy is blind to the data; "
        "a quantised base must be the same one in both evaluations.",
    ),
    Rule(
        code="flat_spectrum",
        severity=Severity.INFO,
        confidence="low",
        find=flat_spectrum,
        message="{flat_share:.0%} of the update energy sits in modules whose energy is spread over their whole rank.",
        source="heuristic; planted ranks: fires in 2 of 12 runs at the exact rank, 1 of 54 at twice the rank",
        thresholds={"k99_share_min": 0.9, "k90_share_min": 0.6, "flat_share_min": 0.5},
        hypothesis="The rank limits the update.",
        test="Train once at twice the rank, at the same scale and with the learning rate re-tuned: a held-out gain "
        "within noise refutes it.",
        limits="Noise looks the same. The absence of this finding does not show that the rank is enough.",
    ),
    Rule(
        code="rank1_dominated",
        severity=Severity.INFO,
        confidence="low",
        find=rank1_dominated,
        message="One direction carries at least {first_share_min:.0%} of the energy in modules that hold "
        "{dominated_share:.0%} of the update.",
        source="PoLAR (arXiv 2506.03133) reads stable rank 1.06 at r=32 as a fault of LoRA training",
        thresholds={"first_share_min": 0.9, "dominated_share_min": 0.5, "r_min": 4},
        hypothesis="Either the task is simple, or learning rate, scale or optimiser left most directions behind.",
        test="A short run at half the learning rate or with rsLoRA: the same stable rank and the same evaluation "
        "refute the second reading.",
        limits="Common in trained adapters; no evidence that the rank is too high.",
    ),
    Rule(
        code="dead_modules",
        severity=Severity.INFO,
        confidence="medium",
        find=dead_modules,
        message="{count} modules moved less than {norm_share_max:.0%} of the median of their type; the first is "
        "{first:.100}.",
        source="heuristic; LoRA-drop (arXiv 2402.07721): half of the LoRA parameters at equal quality",
        thresholds={"norm_share_max": 0.01},
        hypothesis="Dropping them from target_modules changes nothing.",
        test="Set their B to zero: a held-out change beyond one standard error refutes it.",
        limits="Check first that they received gradient: routed experts, frozen parts and heads may not have.",
    ),
    Rule(
        code="energy_concentrated",
        severity=Severity.INFO,
        confidence="low",
        find=energy_concentrated,
        message="{top_share:.0%} of the update energy sits in {top_count} of {layers} layers.",
        source="heuristic on the Herfindahl index of the layers' energies",
        thresholds={"times_even": 3},
        hypothesis="The other layers need less rank, or none.",
        test="Leave LoRA off the quiet layers in one run: a worse held-out evaluation refutes it.",
        limits="Energy does not say how much a layer matters for the output.",
    ),
)
