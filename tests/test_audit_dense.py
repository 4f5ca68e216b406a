"""Every measure of a module from the file to the record, against its definition on the dense update."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gradience.audit import audit
from gradience.audit.record import ModuleAudit

NAMES = ("layers.0.self_attn.q_proj", "layers.0.mlp.up_proj", "layers.1.mlp.up_proj")


def _saved(folder: Path, r: int, dtype: torch.dtype, size: float) -> dict[str, list[torch.Tensor]]:
    """An adapter of scale 3 with fading directions; its factors in float64 by module."""
    generator = torch.Generator().manual_seed(r)
    tensors: dict[str, torch.Tensor] = {}
    factors = {}
    for name in NAMES:
        a = torch.randn(r, 40, generator=generator, dtype=torch.float64) * size
        b = torch.randn(24, r, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, r)
        stored = [factor.to(dtype) for factor in (a, b)]
        tensors |= {f"base_model.model.{name}.lora_{side}.weight": x for side, x in zip("AB", stored, strict=True)}
        factors[name] = [factor.double() for factor in stored]
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": r, "lora_alpha": 3 * r, "target_modules": ["q_proj", "up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return factors


def _measures(a: torch.Tensor, b: torch.Tensor, r: int) -> dict[str, float]:
    """The definitions, as the manual has them."""
    sigma = torch.nn.functional.pad(torch.linalg.svdvals(3 * b @ a), (0, r))[:r]
    square, share = sigma**2, sigma / sigma.sum()
    gram_a, gram_b = a @ a.mT, b.mT @ b
    found = {
        "stable_rank": square.sum() / square[0],
        "effective_rank": torch.exp(-torch.xlogy(share, share).sum()),
        "participation_ratio": square.sum() ** 2 / (square**2).sum(),
        "nuclear_rank": sigma.sum() / sigma[0],
        "delta_sigma_max": sigma[0],
        "delta_fro_norm": (3 * b @ a).norm(),
        "delta_nuclear_norm": sigma.sum(),
        "a_fro_norm": a.norm(),
        "b_fro_norm": b.norm(),
        "ab_norm_ratio": a.norm() / b.norm(),
        "ab_imbalance": (gram_a - gram_b).norm() / (gram_a.norm() + gram_b.norm()),
        "excess_norm": (a.norm() ** 2 + b.norm() ** 2) / 2 / (sigma.sum() / 3),
    }
    return {name: float(value) for name, value in found.items()}


def _residuals(a: torch.Tensor, b: torch.Tensor, ranks: tuple[int, ...]) -> list[list[float]]:
    """Errors of the best cuts, from the cuts themselves."""
    update = b @ a
    u, s, vh = torch.linalg.svd(update, full_matrices=False)
    rests = [update - u[:, :k] * s[:k] @ vh[:k] for k in ranks]
    whole = [torch.linalg.matrix_norm(update), torch.linalg.matrix_norm(update, 2)]
    kinds: list[int | str] = ["fro", 2]
    return [
        [float(torch.linalg.matrix_norm(rest, kind) / norm) for rest in rests]
        for kind, norm in zip(kinds, whole, strict=True)
    ]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("r", "dtype", "size"),
    [(1, torch.float32, 1.0), (8, torch.bfloat16, 1e-3), (16, torch.float16, 1.0), (33, torch.float64, 1e-200)],
)
def test_every_measure_is_that_of_the_dense_update(
    tmp_path: Path, r: int, dtype: torch.dtype, size: float, exact: bool
) -> None:
    """Tiny and narrow ones too: r = 33 is more than the 24 rows of B."""
    factors = _saved(tmp_path, r, dtype, size)
    record = audit(tmp_path, exact=exact)
    norms = {name: float(torch.linalg.matrix_norm(b @ (a / size))) for name, (a, b) in factors.items()}
    for module in record.modules:
        a, b = factors[module.name]
        _check(module, _measures(a / size, b, r), size)
        assert module.energy_share == pytest.approx((norms[module.name] / math.hypot(*norms.values())) ** 2)
        frobenius, spectral = _residuals(a / size, b, record.candidate_ranks)
        assert module.residuals == pytest.approx(frobenius, abs=1e-12)
        assert module.spectral_residuals == pytest.approx(spectral, abs=1e-12)


def _check(module: ModuleAudit, expected: dict[str, float], size: float) -> None:
    """What grows with A is compared at its size; what depends on the balance only where nothing was scaled."""
    for name in ("stable_rank", "effective_rank", "participation_ratio", "nuclear_rank", "b_fro_norm"):
        assert getattr(module, name) == pytest.approx(expected[name], rel=1e-9), name
    for name in ("delta_sigma_max", "delta_fro_norm", "delta_nuclear_norm", "a_fro_norm", "ab_norm_ratio"):
        assert getattr(module, name) / size == pytest.approx(expected[name], rel=1e-9), name
    for name in ("ab_imbalance", "excess_norm") if size == 1 else ():
        assert getattr(module, name) == pytest.approx(expected[name], rel=1e-9), name
