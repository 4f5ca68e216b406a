"""What some modules say together: those of one type, in one layer, of one target, or all; pure, no torch.

Energies (σ²) are pooled over modules after dividing by the largest σ, so that nothing overflows. Where every update is
zero there are no shares: nothing is waste, and every rank keeps all of it.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from gradience.audit import layers, measures
from gradience.audit.record import GroupSummary, ModuleAudit, NamedGroup


def by_type(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> dict[str, GroupSummary]:
    """The modules of each type that occurs, in the order of `layers.TYPES`."""
    groups = _grouped(modules, lambda module: module.module_type)
    return {kind: GroupSummary(**group(groups[kind], ranks)) for kind in layers.TYPES if kind in groups}


def by_layer(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> tuple[NamedGroup, ...]:
    """The modules of each layer, in their order; those outside of any layer are left out."""
    return _named(_grouped(modules, lambda module: layers.layer_path(module.name)), ranks)


def by_target(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> tuple[NamedGroup, ...]:
    """The modules of each target name, in the order of their first ones."""
    return _named(_grouped(modules, lambda module: module.target), ranks)


def group(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> dict[str, Any]:
    """The fields of `GroupSummary` over some modules, at least one."""
    return {
        **pooled(modules),
        "params": sum(module.params for module in modules),
        "energy_share": sum(module.energy_share for module in modules),
        "energy_kept": energy_kept(modules, ranks),
        "spectral_residuals": spectral_residuals(modules, ranks),
    }


def pooled(modules: Sequence[ModuleAudit]) -> dict[str, Any]:
    """The fields of `Pooled` over some modules, at least one."""
    return {
        "n_layers": len(modules),
        "rank_waste": rank_waste(modules),
        **_shape(modules),
        **_size(modules),
        **_against_base(modules),
    }


def energy_kept(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> tuple[float, ...]:
    """The share of the modules' pooled energy that is left when each is cut to its best part of rank k."""
    weights = energies(modules)
    total = sum(weights)
    if not total:
        return (1.0,) * len(ranks)
    columns = zip(*(module.residuals for module in modules), strict=True)
    lost = (sum(w * rest**2 for w, rest in zip(weights, column, strict=True)) for column in columns)
    return tuple(1.0 - share / total for share in lost)


def spectral_residuals(modules: Sequence[ModuleAudit], ranks: Sequence[int]) -> tuple[float, ...]:
    """The largest σ_{k+1} of any module as a multiple of the largest σ₁: the error of the same cuts in that norm."""
    largest = max(module.delta_sigma_max for module in modules)
    if not largest:
        return (0.0,) * len(ranks)
    rows = ([rest * (m.delta_sigma_max / largest) for rest in m.spectral_residuals] for m in modules)
    return tuple(map(max, zip(*rows, strict=True)))


def energies(modules: Sequence[ModuleAudit]) -> list[float]:
    """‖ΔW‖_F² of each module, as a multiple of the largest."""
    return measures.squares([module.delta_fro_norm for module in modules])


def rank_waste(modules: Sequence[ModuleAudit]) -> float:
    """1 - Σ k(in + out) / Σ r(in + out), k the energy rank: the share of parameters that carry only what k leaves."""
    trained = sum(module.params for module in modules)
    if not trained or not any(module.energy_rank for module in modules):
        return 0.0
    used = sum(module.params // module.r * module.energy_rank for module in modules)
    return 1.0 - used / trained


def percentile(values: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _grouped(modules: Iterable[ModuleAudit], key: Callable[[ModuleAudit], str | None]) -> dict[str, list[ModuleAudit]]:
    groups: dict[str, list[ModuleAudit]] = {}
    for module in modules:
        name = key(module)
        if name is not None:
            groups.setdefault(name, []).append(module)
    return groups


def _named(groups: dict[str, list[ModuleAudit]], ranks: Sequence[int]) -> tuple[NamedGroup, ...]:
    return tuple(NamedGroup(name=name, **group(modules, ranks)) for name, modules in groups.items())


def _shape(modules: Sequence[ModuleAudit]) -> dict[str, float | None]:
    """Means and percentiles over modules, each counting once."""
    means = ("stable_rank", "effective_rank", "participation_ratio", "nuclear_rank", "utilization", "ab_imbalance")
    medians = ("sigma_1_over_2", "sigma_r_over_1", "ab_norm_ratio", "excess_norm")
    ranks = ("energy_rank_90", "energy_rank_95", "energy_rank_99")
    return {
        **{f"{name}_mean": _over(modules, name, statistics.fmean) for name in means},
        **{f"{name}_p50": _over(modules, name, statistics.median) for name in medians},
        **{f"{name}_p{q}": _over(modules, name, partial(percentile, q=q / 100)) for name in ranks for q in (50, 90)},
    }


def _over(modules: Sequence[ModuleAudit], name: str, over: Callable[[list[float]], float]) -> float | None:
    known = [value for module in modules if (value := getattr(module, name)) is not None]
    return over(known) if known else None


def _size(modules: Sequence[ModuleAudit]) -> dict[str, float]:
    """Norms of the block-diagonal matrix of the modules' updates."""
    return {
        "delta_sigma_max": max(module.delta_sigma_max for module in modules),
        "delta_fro_norm": math.hypot(*(module.delta_fro_norm for module in modules)),
        "delta_nuclear_norm": sum(module.delta_nuclear_norm for module in modules),
    }


def _against_base(modules: Sequence[ModuleAudit]) -> dict[str, float | None]:
    """Means, medians, ... over the modules whose base weight was measured."""
    overs: dict[str, Callable[[list[float]], float]] = {
        "mean": statistics.fmean,
        "median": statistics.median,
        "p90": partial(percentile, q=0.9),
    }
    return {
        "n_layers_with_udr": _over(modules, "udr", len),
        **{
            f"{name}_{key}": _over(modules, name, over)
            for name in ("udr", "udr_f", "sdi")
            for key, over in overs.items()
        },
        "udr_max": _over(modules, "udr", max),
        "fraction_udr_gt_0_1": _over(modules, "udr", partial(_share_above, limit=0.1)),
        "fraction_udr_gt_0_3": _over(modules, "udr", partial(_share_above, limit=0.3)),
    }


def _share_above(values: Sequence[float], limit: float) -> float:
    return sum(value > limit for value in values) / len(values)
