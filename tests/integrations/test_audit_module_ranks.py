"""Suggested ranks against PEFT itself: a new adapter with the printed settings has them, and every scale is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.audit.record import AuditRecord  # noqa: E402
from gradience.policy import module_ranks  # noqa: E402
from tests.integrations.peft_adapters import layers, llama, mixtral, seeded  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # PEFT's and transformers' own

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (llama, {"target_modules": ["q_proj", "down_proj"]}),
    "rslora": (llama, {"target_modules": ["q_proj", "down_proj"], "use_rslora": True}),
    "experts": (
        mixtral,
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
    ),
    "attention": (
        layers(attn=torch.nn.MultiheadAttention(16, 2), head=torch.nn.Linear(16, 16)),
        {"target_modules": ["attn", "head"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_peft_takes_the_settings_as_they_are_printed(tmp_path: Path, case: str) -> None:
    """Each gets its suggested rank, and the scale that it had."""
    make, options = CASES[case]
    with seeded():
        peft.get_peft_model(make(), peft.LoraConfig(r=8, lora_alpha=16, **options)).save_pretrained(tmp_path)
    _train(tmp_path / "adapter_model.safetensors")
    record = audit(tmp_path)
    ranks = module_ranks.suggest(record)
    assert len({row.suggested_rank for row in ranks.modules}) > 1
    again = peft.get_peft_model(make(), peft.LoraConfig(**module_ranks.settings(ranks), **options))
    assert dict(_ranks(again)) == {row.name: row.suggested_rank for row in ranks.modules}
    scales = _scales(record)
    assert dict(_scalings(again)) == {name: pytest.approx(scales[name]) for name in scales}


def _train(weights: Path) -> None:
    """Give B a spectrum that ends after 1, 2, 3, ... directions, module after module."""
    tensors = load_file(weights)
    for place, key in enumerate(key for key in sorted(tensors) if "lora_B" in key):
        tensors[key] = torch.randn(tensors[key].shape, generator=torch.Generator().manual_seed(place))
        tensors[key][:, place % 8 + 1 :] = 0
    save_file(tensors, weights, metadata={"format": "pt"})


def _scales(record: AuditRecord) -> dict[str, float]:
    return {module_ranks.owner(module): module.scale for module in record.modules}


def _wrapped(model: Any) -> Iterator[tuple[str, Any]]:
    """What PEFT gave a rank, by the name that it looked up; not what lies inside a MultiheadAttention."""
    for path, layer in model.named_modules():
        if "default" in getattr(layer, "r", {}) and not path.endswith(".base_layer.out_proj"):
            name = path.removeprefix("base_model.model.").replace(".base_layer", "")
            parameter = getattr(layer, "parameter_name", None)
            yield f"{name}.{parameter}" if parameter else name, layer


def _ranks(model: Any) -> Iterator[tuple[str, int]]:
    return ((name, layer.r["default"]) for name, layer in _wrapped(model))


def _scalings(model: Any) -> Iterator[tuple[str, float]]:
    return ((name, layer.scaling["default"]) for name, layer in _wrapped(model))
