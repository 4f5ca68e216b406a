"""From spectra to the record: measures per module, and what they say together; pure, no torch.

Energies (σ²) are pooled over modules after dividing by the largest σ of the adapter, so that nothing overflows. An
adapter whose update is zero has no shares: nothing of it is waste, and every rank keeps all of it.
"""

import math
import statistics
from collections.abc import Sequence

import msgspec

from gradience.audit import ladder, layers, measures
from gradience.audit.adapter import Adapter
from gradience.audit.measured import Measured, Spectrum
from gradience.audit.module import Module
from gradience.audit.record import AuditRecord, AuditSummary, ModuleAudit, TypeSummary
from gradience.audit.refusal import listed


def record(adapter: Adapter, measured: Measured, *, energy_level: float, fingerprint: str) -> AuditRecord:
    """The audit of `adapter` from the spectra of its modules, in their order."""
    ranks = ladder.ranks(max(module.r for module in adapter.modules))
    modules = tuple(
        _module(module, spectrum, energy_level, ranks)
        for module, spectrum in zip(adapter.modules, measured.spectra, strict=True)
    )
    return AuditRecord(
        energy_level=energy_level,
        adapter=msgspec.structs.replace(adapter.info, fingerprint=fingerprint),
        candidate_ranks=ranks,
        energy_kept=energy_kept(modules, ranks),
        summary=summary(modules),
        by_type=by_type(modules),
        modules=modules,
        issues=(*_untrained(modules), *adapter.issues, *measured.issues),
    )


def energy_kept(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> tuple[float, ...]:
    """The share of the adapter's pooled energy that is left when each module is cut to its best rank-k part."""
    weights = energies(modules)
    total = sum(weights)
    if not total:
        return (1.0,) * len(ranks)
    columns = zip(*(module.residuals for module in modules), strict=True)
    lost = (sum(w * rest**2 for w, rest in zip(weights, column, strict=True)) for column in columns)
    return tuple(1.0 - share / total for share in lost)


def energies(modules: Sequence[ModuleAudit]) -> list[float]:
    """‖ΔW‖_F² of each module, as a multiple of the largest."""
    largest = max(module.delta_fro_norm for module in modules)
    return [(module.delta_fro_norm / largest) ** 2 if largest else 0.0 for module in modules]


def rank_waste(modules: Sequence[ModuleAudit]) -> float:
    """1 - Σ k(in + out) / Σ r(in + out), k the energy rank: the share of parameters that carry only what k leaves."""
    if not any(module.energy_rank for module in modules):
        return 0.0
    used = sum(module.params // module.r * module.energy_rank for module in modules)
    return 1.0 - used / sum(module.params for module in modules)


def summary(modules: Sequence[ModuleAudit]) -> AuditSummary:
    """All modules together; percentiles of energy ranks interpolate, those of norms take the nearest rank."""
    whole = type_summary(modules)
    stable = [module.stable_rank for module in modules]
    sigma = sorted(module.delta_sigma_max for module in modules)
    fro = sorted(module.delta_fro_norm for module in modules)
    return AuditSummary(
        total_lora_params=whole.params,
        n_layers=whole.n_layers,
        stable_rank_mean=whole.stable_rank_mean,
        stable_rank_median=statistics.median(stable),
        stable_rank_weighted_mean=sum(m.params * m.stable_rank for m in modules) / whole.params,
        effective_rank_mean=whole.effective_rank_mean,
        utilization_mean=whole.utilization_mean,
        **_energy_rank_percentiles(modules),
        energy_rank_p50=percentile([module.energy_rank for module in modules], 0.5),
        energy_rank_p90_weighted=_weighted_p90(modules),
        rank_waste=whole.rank_waste,
        delta_sigma_max_scaled_mean=statistics.fmean(sigma),
        delta_sigma_max_scaled_p50=_nearest(sigma, 0.5),
        delta_sigma_max_scaled_p90=_nearest(sigma, 0.9),
        delta_frob_norm_scaled_mean=statistics.fmean(fro),
        delta_frob_norm_scaled_p50=_nearest(fro, 0.5),
        delta_frob_norm_scaled_p90=_nearest(fro, 0.9),
    )


def by_type(modules: Sequence[ModuleAudit]) -> dict[str, TypeSummary]:
    """The modules of each type that occurs, in the order of `layers.TYPES`."""
    groups = {kind: [module for module in modules if module.module_type == kind] for kind in layers.TYPES}
    return {kind: type_summary(group) for kind, group in groups.items() if group}


def type_summary(modules: Sequence[ModuleAudit]) -> TypeSummary:
    """Means and percentiles over some modules, at least one."""
    return TypeSummary(
        n_layers=len(modules),
        params=sum(module.params for module in modules),
        stable_rank_mean=statistics.fmean(module.stable_rank for module in modules),
        effective_rank_mean=statistics.fmean(module.effective_rank for module in modules),
        utilization_mean=statistics.fmean(module.utilization for module in modules),
        **_energy_rank_percentiles(modules),
        rank_waste=rank_waste(modules),
    )


def percentile(values: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _energy_rank_percentiles(modules: Sequence[ModuleAudit]) -> dict[str, float]:
    columns = {
        "energy_rank_90": [module.energy_rank_90 for module in modules],
        "energy_rank_95": [module.energy_rank_95 for module in modules],
        "energy_rank_99": [module.energy_rank_99 for module in modules],
    }
    return {f"{name}_p{q}": percentile(column, q / 100) for name, column in columns.items() for q in (50, 90)}


def _weighted_p90(modules: Sequence[ModuleAudit]) -> float:
    """The least energy rank k such that modules with one up to k hold 90 % of the pooled energy."""
    ordered = sorted(zip((module.energy_rank for module in modules), energies(modules), strict=True))
    reach = measures.first_reaching([energy for _, energy in ordered], 0.9)
    return float(ordered[reach - 1][0]) if reach else 0.0


def _nearest(ordered: Sequence[float], q: float) -> float:
    return ordered[round((len(ordered) - 1) * q)]


def _module(module: Module, spectrum: Spectrum, level: float, ranks: Sequence[int]) -> ModuleAudit:
    values = spectrum.values
    stable = measures.stable_rank(values)
    k, k90, k95, k99 = measures.energy_ranks(values, (level, 0.90, 0.95, 0.99))
    return ModuleAudit(
        name=module.name,
        kind=module.kind,
        module_type=layers.module_type(module.name),
        layer=layers.layer_index(module.name),
        r=module.r,
        alpha=module.alpha,
        scale=module.scale,
        in_features=module.in_features,
        out_features=module.out_features,
        params=module.params,
        stable_rank=stable,
        effective_rank=measures.effective_rank(values),
        utilization=stable / module.r,
        energy_rank=k,
        energy_rank_90=k90,
        energy_rank_95=k95,
        energy_rank_99=k99,
        delta_sigma_max=values[0],
        delta_fro_norm=measures.fro_norm(values),
        residuals=measures.residuals(values, ranks),
        sigma_floor=spectrum.floor,
        method=spectrum.method,
        singular_values=values,
    )


def _untrained(modules: Sequence[ModuleAudit]) -> list[str]:
    zero = [module.name for module in modules if not module.delta_sigma_max]
    if not zero:
        return []
    if len(zero) == len(modules):
        return ["untrained: the update is zero in every module, so its ranks mean nothing"]
    return [f"untrained_modules: the update is zero in {len(zero)} of {len(modules)} modules ({listed(zero)})"]
