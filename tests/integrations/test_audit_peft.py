"""The audit against PEFT itself: adapters that PEFT wrote, and the update that PEFT computes after reloading them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from tests.integrations.peft_adapters import (  # noqa: E402
    assert_true,
    bert,
    gpt2,
    llama,
    saved,
    seeded,
    t5,
    updates,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # PEFT's and transformers' own: about odd configurations and each other
LLAMA_TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with seeded():
        yield


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (llama, {"r": 8, "lora_alpha": 16, "target_modules": LLAMA_TARGETS}),
    "all-linear": (llama, {"r": 4, "target_modules": "all-linear"}),
    "regex": (llama, {"r": 4, "target_modules": r".*\.1\..*(q|up)_proj"}),
    "rslora": (llama, {"r": 8, "lora_alpha": 16, "use_rslora": True, "target_modules": LLAMA_TARGETS}),
    "patterns": (
        llama,
        {
            "r": 8,
            "lora_alpha": 16,
            "target_modules": LLAMA_TARGETS,
            "rank_pattern": {"down_proj": 4, r"layers\.1\.self_attn\.q_proj": 2},
            "alpha_pattern": {r".*layers\.1.*\.v_proj": 1, "down_proj": 400},
        },
    ),
    "overlapping patterns": (
        llama,
        {"r": 8, "target_modules": ["q_proj"], "alpha_pattern": {"q_proj": 32, "layers.0.self_attn.q_proj": 2}},
    ),
    "patterns and rslora": (
        llama,
        {"r": 8, "use_rslora": True, "target_modules": ["q_proj"], "rank_pattern": {"0.self_attn.q_proj": 3}},
    ),
    "fractional and negative alpha": (
        llama,
        {"r": 4, "lora_alpha": 0.5, "target_modules": ["q_proj", "v_proj"], "alpha_pattern": {"v_proj": -2}},
    ),
    "rank above width": (llama, {"r": 40, "target_modules": ["q_proj"]}),
    "some layers": (llama, {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [1]}),
    "lm_head": (llama, {"r": 4, "target_modules": ["lm_head"]}),
    "orthogonal": (llama, {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": "orthogonal"}),
    "random start": (llama, {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False}),
    "lora_bias": (llama, {"r": 4, "target_modules": ["q_proj"], "lora_bias": True}),
    "grown layers": (
        llama,
        {
            "r": 4,
            "target_modules": ["q_proj"],
            "layer_replication": [(0, 2), (1, 2)],
            "alpha_pattern": {r"layers\.2\.self_attn\.q_proj": 32},
        },
    ),
    "EVA's patterns": (
        llama,
        {
            "r": 4,
            "target_modules": ["q_proj"],
            "rank_pattern": {f"model.layers.{layer}.self_attn.q_proj": 3 + layer for layer in range(2)},
            "alpha_pattern": {f"model.layers.{layer}.self_attn.q_proj": 5 - layer for layer in range(2)},
        },
    ),
    "token rows": (llama, {"r": 4, "target_modules": ["q_proj"], "trainable_token_indices": [1, 3]}),
    "modules_to_save": (llama, {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "Conv1D": (gpt2, {"r": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "bias": "all"}),
    "BERT": (bert, {"r": 4, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}),
    "T5": (t5, {"r": 4, "target_modules": ["q", "v", "wo"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_spectrum_is_that_of_pefts_own_update(tmp_path: Path, case: str) -> None:
    """Names, ranks, scales and orientation are PEFT's, for every way to configure plain LoRA."""
    make, options = CASES[case]
    folder = saved(make(), tmp_path, peft.LoraConfig(**options))
    assert_true(audit(folder), updates(make(), folder))


@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ("plain", []),
        ("overlapping patterns", ["pattern_overlap"]),
        ("lora_bias", ["lora_bias"]),
        ("modules_to_save", ["modules_to_save"]),
        ("Conv1D", ["modules_to_save", "bias"]),
        ("lm_head", []),
        ("random start", ["random_start"]),
        ("grown layers", ["layer_replication"]),
        ("EVA's patterns", []),
        ("token rows", ["trainable_tokens"]),
    ],
)
def test_what_the_factors_leave_out_is_an_issue(tmp_path: Path, case: str, codes: list[str]) -> None:
    """In files that PEFT wrote."""
    make, options = CASES[case]
    assert [issue.split(":")[0] for issue in audit(saved(make(), tmp_path, peft.LoraConfig(**options))).issues] == codes


def test_a_fresh_adapter_is_untrained(tmp_path: Path) -> None:
    """PEFT starts with B = 0."""
    peft.get_peft_model(llama(), peft.LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path)
    record = audit(tmp_path)
    assert record.issues[0].startswith("untrained:")
    assert record.summary.stable_rank_mean == 0


def test_a_bin_file_and_bfloat16_are_read(tmp_path: Path) -> None:
    """`safe_serialization=False`, and factors kept in the base's dtype."""
    model = llama().to(torch.bfloat16)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    wrapped.save_pretrained(tmp_path, safe_serialization=False)
    record = audit(tmp_path)
    assert record.adapter.dtype == "BF16"
    assert record.adapter.adapter_weights_path.endswith("adapter_model.bin")
    layer = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    truth = torch.linalg.svdvals(2 * b @ a)[:4].tolist()
    assert record.modules[0].singular_values == pytest.approx(truth, rel=1e-9)


def test_a_state_dict_with_the_adapters_name_is_read(tmp_path: Path) -> None:
    """`torch.save(model.state_dict())` keeps the name in every key, and full tensors beside the factors."""
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(llama(), config)
    wrapped.save_pretrained(tmp_path)
    plain = audit(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    factors = {key: value for key, value in wrapped.state_dict().items() if ".lora_" in key}
    torch.save(factors, tmp_path / "adapter_model.bin")
    named = audit(tmp_path)
    assert [module.singular_values for module in named.modules] == [module.singular_values for module in plain.modules]
    assert "adapter_name" in [issue.split(":")[0] for issue in named.issues]


def test_another_adapter_in_a_sub_directory_is_named(tmp_path: Path) -> None:
    """PEFT saves the second adapter below the first."""
    config = peft.LoraConfig(r=4, target_modules=["q_proj"])
    wrapped = peft.get_peft_model(llama(), config)
    wrapped.add_adapter("second", config)
    wrapped.save_pretrained(tmp_path)
    assert any(issue.startswith("other_adapters:") and "second" in issue for issue in audit(tmp_path).issues)
