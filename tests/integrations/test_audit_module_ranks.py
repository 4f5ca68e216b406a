"""Suggested ranks against PEFT itself: a new adapter with the printed settings has them, and every scale is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.policy import module_ranks  # noqa: E402
from tests.integrations.peft_adapters import llama, seeded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's and transformers' own


@pytest.mark.slow
@pytest.mark.parametrize("use_rslora", [False, True])
def test_peft_takes_the_settings_as_they_are_printed(tmp_path: Path, use_rslora: bool) -> None:
    """Each module gets its suggested rank, and the scale that it had."""
    targets = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], "use_rslora": use_rslora}
    with seeded():
        peft.get_peft_model(llama(), peft.LoraConfig(**targets)).save_pretrained(tmp_path)
    _train(tmp_path / "adapter_model.safetensors")
    record = audit(tmp_path)
    ranks = module_ranks.suggest(record)
    assert ranks is not None
    assert len({row.suggested_rank for row in ranks.modules}) > 1
    again = peft.get_peft_model(llama(), peft.LoraConfig(**{**targets, **module_ranks.settings(ranks)}))
    layers = {name.removeprefix("base_model.model."): layer for name, layer in again.named_modules()}
    for row, module in zip(ranks.modules, record.modules, strict=True):
        layer: Any = layers[row.name]
        assert (layer.r["default"], layer.scaling["default"]) == (row.suggested_rank, pytest.approx(module.scale))


def _train(weights: Path) -> None:
    """Give B a spectrum that ends after 1, 2, 3, ... directions, module after module."""
    tensors = load_file(weights)
    for place, key in enumerate(key for key in sorted(tensors) if "lora_B" in key):
        tensors[key] = torch.eye(*tensors[key].shape)
        tensors[key][:, place + 1 :] = 0
    save_file(tensors, weights, metadata={"format": "pt"})
