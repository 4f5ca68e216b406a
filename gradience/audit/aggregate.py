"""From spectra to the record: the measures of every module, and of all together; pure, no torch."""

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from gradience.audit import ladder, layers, measures
from gradience.audit.base import relative
from gradience.audit.base.measured import Against
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.audit.record import AuditRecord, AuditSummary, ModuleAudit, NamedGroup
from gradience.audit.refusal import listed
from gradience.audit.spectra import pool
from gradience.audit.spectra.measured import Balance, Measured, Spectrum


def record(
    adapter: Adapter, measured: Measured, *, energy_level: float, fingerprint: str, base: Against | None = None
) -> AuditRecord:
    """The audit of `adapter` from the spectra of its modules, in their order; `base` is what they are set against."""
    ranks = ladder.ranks(max(module.r for module in adapter.modules))
    shares = _shares(measured.spectra)
    modules = tuple(
        relative.added(_module(module, spectrum, share, energy_level, ranks), base)
        for module, spectrum, share in zip(adapter.modules, measured.spectra, shares, strict=True)
    )
    by_layer = pool.by_layer(modules, ranks)
    return AuditRecord(
        energy_level=energy_level,
        adapter=msgspec.structs.replace(adapter.info, fingerprint=fingerprint),
        candidate_ranks=ranks,
        energy_kept=pool.energy_kept(modules, ranks),
        spectral_residuals=pool.spectral_residuals(modules, ranks),
        summary=summary(modules, by_layer),
        by_type=pool.by_type(modules, ranks),
        by_layer=by_layer,
        by_target=pool.by_target(modules, ranks),
        modules=modules,
        base_path=base.given if base else None,
        issues=(*_untrained(modules), *adapter.issues, *measured.issues, *(base.issues if base else ())),
    )


def summary(modules: Sequence[ModuleAudit], by_layer: Sequence[NamedGroup]) -> AuditSummary:
    """All modules together; percentiles of energy ranks interpolate, those of norms take the nearest rank."""
    stable = [module.stable_rank for module in modules]
    params = sum(module.params for module in modules)
    sigma = sorted(module.delta_sigma_max for module in modules)
    fro = sorted(module.delta_fro_norm for module in modules)
    return AuditSummary(
        **pool.pooled(modules),
        total_lora_params=params,
        stable_rank_median=statistics.median(stable),
        stable_rank_weighted_mean=sum(m.params * m.stable_rank for m in modules) / params,
        energy_rank_p50=pool.percentile([module.energy_rank for module in modules], 0.5),
        energy_rank_p90_weighted=_weighted_p90(modules),
        delta_sigma_max_scaled_mean=statistics.fmean(sigma),
        delta_sigma_max_scaled_p50=_nearest(sigma, 0.5),
        delta_sigma_max_scaled_p90=_nearest(sigma, 0.9),
        delta_frob_norm_scaled_mean=statistics.fmean(fro),
        delta_frob_norm_scaled_p50=_nearest(fro, 0.5),
        delta_frob_norm_scaled_p90=_nearest(fro, 0.9),
        layer_energy_hhi=measures.concentration([layer.energy_share for layer in by_layer]),
    )


def _weighted_p90(modules: Sequence[ModuleAudit]) -> float:
    """The least energy rank k such that modules with one up to k hold 90 % of the pooled energy."""
    ordered = sorted(zip((module.energy_rank for module in modules), pool.energies(modules), strict=True))
    reach = measures.first_reaching([energy for _, energy in ordered], 0.9)
    return float(ordered[reach - 1][0]) if reach else 0.0


def _nearest(ordered: Sequence[float], q: float) -> float:
    return ordered[round((len(ordered) - 1) * q)]


def _shares(spectra: Sequence[Spectrum]) -> list[float]:
    energies = measures.squares([measures.fro_norm(spectrum.values) for spectrum in spectra])
    total = sum(energies)
    return [energy / total if total else 0.0 for energy in energies]


def _module(module: Module, spectrum: Spectrum, share: float, level: float, ranks: Sequence[int]) -> ModuleAudit:
    values = spectrum.values
    return ModuleAudit(
        name=module.name,
        kind=module.kind,
        module_type=layers.module_type(module.name),
        target=layers.target(module.name),
        layer=layers.layer_index(module.name),
        r=module.r,
        alpha=module.alpha,
        scale=module.scale,
        in_features=module.in_features,
        out_features=module.out_features,
        params=module.params,
        energy_share=share,
        **_ranks(values, module.r, level),
        **_size(values, spectrum.floor),
        **_balance(spectrum.balance, values, module.scale),
        residuals=measures.residuals(values, ranks),
        spectral_residuals=measures.spectral_residuals(values, ranks),
        sigma_floor=spectrum.floor,
        method=spectrum.method,
        singular_values=values,
    )


def _ranks(values: Sequence[float], r: int, level: float) -> dict[str, Any]:
    """What the shape of a spectrum says of its rank."""
    stable = measures.stable_rank(values)
    k, k90, k95, k99 = measures.energy_ranks(values, (level, 0.90, 0.95, 0.99))
    return {
        "stable_rank": stable,
        "effective_rank": measures.effective_rank(values),
        "participation_ratio": measures.participation_ratio(values),
        "nuclear_rank": measures.nuclear_rank(values),
        "utilization": stable / r,
        "energy_rank": k,
        "energy_rank_90": k90,
        "energy_rank_95": k95,
        "energy_rank_99": k99,
    }


def _size(values: Sequence[float], floor: float) -> dict[str, Any]:
    """Norms, and the ends of the spectrum as ratios."""
    return {
        "delta_sigma_max": values[0],
        "delta_fro_norm": measures.fro_norm(values),
        "delta_nuclear_norm": measures.nuclear_norm(values),
        "sigma_1_over_2": measures.first_over_second(values, floor),
        "sigma_r_over_1": measures.last_over_first(values),
    }


def _balance(found: Balance | None, values: Sequence[float], scale: float) -> dict[str, Any]:
    """How the update is shared between its factors; nothing of factors that are not those that were trained."""
    if found is None:
        return dict.fromkeys(("a_fro_norm", "b_fro_norm", "ab_norm_ratio", "ab_imbalance", "excess_norm"))
    nuclear = measures.nuclear_norm(values) / abs(scale) if scale else 0.0
    return {
        "a_fro_norm": found.a_norm,
        "b_fro_norm": found.b_norm,
        "ab_norm_ratio": measures.norm_ratio(found.a_norm, found.b_norm),
        "ab_imbalance": found.imbalance,
        "excess_norm": measures.excess_norm(nuclear, found.a_norm, found.b_norm),
    }


def _untrained(modules: Sequence[ModuleAudit]) -> list[str]:
    zero = [module.name for module in modules if not module.delta_sigma_max]
    if not zero:
        return []
    if len(zero) == len(modules):
        return ["untrained: the update is zero in every module, so its ranks mean nothing"]
    return [f"untrained_modules: the update is zero in {len(zero)} of {len(modules)} modules ({listed(zero)})"]
