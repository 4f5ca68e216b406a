"""Fixtures that more than one test module needs."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import msgspec
import pytest

from gradience.audit import ladder, measures
from gradience.audit.record import AdapterInfo, AuditRecord, AuditSummary, ModuleAudit, TypeSummary

MakeRecord = Callable[..., AuditRecord]
SaveAdapter = Callable[..., Path]


@pytest.fixture
def make_record() -> MakeRecord:
    """A function that makes the record of an adapter with given spectra: `make_record({"0.q_proj": [3, 1, 0.1]})`.

    The number before the first dot is the layer; names with `mlp` are MLPs; every module is 64 x 64. Further keywords
    replace fields of `AdapterInfo`.
    """
    return _record


@pytest.fixture
def save_adapter() -> SaveAdapter:
    """A function that saves a LoRA adapter as PEFT does: `save_adapter(path, r=16, needed=4)`.

    Two layers of q_proj and up_proj, 32 x 32; the first `needed` directions carry nearly all of the update, none at 0.
    Further keywords go to adapter_config.json.
    """
    return _adapter


def _adapter(path: Path, *, r: int = 16, needed: int = 4, **config: Any) -> Path:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(r + needed)
    strength = torch.tensor([1.0 if i < needed else 1e-3 * bool(needed) for i in range(r)])
    tensors = {}
    for name in [f"model.layers.{i}.{kind}" for i in range(2) for kind in ("self_attn.q_proj", "mlp.up_proj")]:
        a, b = (torch.linalg.qr(torch.randn(32, r, generator=generator))[0] for _ in "ab")
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.T.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = (b * strength).contiguous()
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    said = {"peft_type": "LORA", "r": r, "lora_alpha": 2 * r, "target_modules": ["q_proj", "up_proj"], **config}
    (path / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    return path


def _record(spectra: Mapping[str, Sequence[float]], energy_level: float = 0.95, **adapter: Any) -> AuditRecord:
    top = max(len(values) for values in spectra.values())
    ranks = ladder.ranks(top)
    modules = tuple(_module(name, list(values), ranks, energy_level) for name, values in spectra.items())
    types = sorted({module.module_type for module in modules})
    by_type = {name: _type([module for module in modules if module.module_type == name]) for name in types}
    info = AdapterInfo(
        peft_dir="out/adapter",
        adapter_config_path="out/adapter/adapter_config.json",
        adapter_weights_path="out/adapter/adapter_model.safetensors",
        r=top,
        lora_alpha=top,
        dtype="F32",
        fingerprint="sha256:" + "0" * 64,
    )
    return AuditRecord(
        energy_level=energy_level,
        adapter=msgspec.structs.replace(info, **adapter),
        candidate_ranks=ranks,
        energy_kept=tuple(_kept(modules, index) for index in range(len(ranks))),
        summary=_summary(modules),
        by_type=by_type,
        modules=modules,
    )


def _module(name: str, values: list[float], ranks: Sequence[int], level: float) -> ModuleAudit:
    layer, _, rest = name.partition(".")
    at_level, *public = measures.energy_ranks(values, (level, 0.90, 0.95, 0.99))
    stable = measures.stable_rank(values)
    return ModuleAudit(
        name=name,
        module_type="mlp" if "mlp" in rest else "attn",
        layer=int(layer) if layer.isdigit() else None,
        r=len(values),
        alpha=float(len(values)),
        scale=1.0,
        in_features=64,
        out_features=64,
        params=128 * len(values),
        stable_rank=stable,
        effective_rank=measures.effective_rank(values),
        utilization=stable / len(values),
        energy_rank=at_level,
        energy_rank_90=public[0],
        energy_rank_95=public[1],
        energy_rank_99=public[2],
        delta_sigma_max=values[0],
        delta_fro_norm=measures.fro_norm(values),
        residuals=measures.residuals(values, ranks),
        sigma_floor=0.0,
        method="qr",
    )


def _kept(modules: Sequence[ModuleAudit], index: int) -> float:
    energies = [module.delta_fro_norm**2 for module in modules]
    kept = [energy * (1 - module.residuals[index] ** 2) for module, energy in zip(modules, energies, strict=True)]
    return sum(kept) / sum(energies) if any(energies) else 0.0


def _type(modules: Sequence[ModuleAudit]) -> TypeSummary:
    return TypeSummary(n_layers=len(modules), params=sum(module.params for module in modules), **_shared(modules))


def _shared(modules: Sequence[ModuleAudit]) -> dict[str, float]:
    shared = {
        "stable_rank_mean": fmean(module.stable_rank for module in modules),
        "effective_rank_mean": fmean(module.effective_rank for module in modules),
        "utilization_mean": fmean(module.utilization for module in modules),
        "rank_waste": 1 - sum(module.energy_rank for module in modules) / sum(module.r for module in modules),
    }
    for level in (90, 95, 99):
        values = sorted(getattr(module, f"energy_rank_{level}") for module in modules)
        shared[f"energy_rank_{level}_p50"] = float(median(values))
        shared[f"energy_rank_{level}_p90"] = float(values[int(0.9 * (len(values) - 1))])
    return shared


def _summary(modules: Sequence[ModuleAudit]) -> AuditSummary:
    norms, tops = [[getattr(module, name) for module in modules] for name in ("delta_fro_norm", "delta_sigma_max")]
    spread = {f"delta_frob_norm_scaled_{key}": value for key, value in _spread(norms).items()}
    spread |= {f"delta_sigma_max_scaled_{key}": value for key, value in _spread(tops).items()}
    return AuditSummary(
        total_lora_params=sum(module.params for module in modules),
        n_layers=len(modules),
        stable_rank_median=median(module.stable_rank for module in modules),
        stable_rank_weighted_mean=fmean(module.stable_rank for module in modules),
        energy_rank_p50=float(median(module.energy_rank for module in modules)),
        energy_rank_p90_weighted=_weighted_p90(modules),
        **_shared(modules),
        **spread,
    )


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": fmean(values), "p50": float(median(values)), "p90": sorted(values)[int(0.9 * (len(values) - 1))]}


def _weighted_p90(modules: Sequence[ModuleAudit]) -> float:
    total, held = sum(module.delta_fro_norm**2 for module in modules), 0.0
    for module in sorted(modules, key=lambda one: one.energy_rank):
        held += module.delta_fro_norm**2
        if held >= 0.9 * total:
            break
    return float(module.energy_rank)
