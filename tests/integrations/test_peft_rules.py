"""What PEFT's own rules imply, each against PEFT itself: what we call an error it refuses, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from gradience.policy.check import check  # noqa: E402
from gradience.policy.peft_rules import RULES  # noqa: E402
from gradience.policy.rule import codes  # noqa: E402
from gradience.settings import sources  # noqa: E402
from gradience.vnext.types import ConfigSnapshot, Severity  # noqa: E402
from tests.integrations.peft_adapters import llama, mixtral  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own: about odd configurations

EXPERTS = {"target_modules": [], "target_parameters": ["mlp.experts.down_proj"]}
QV: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("peft_experts_dropout", {**EXPERTS, "lora_dropout": 0.1}),
    ("peft_experts_variant", {**EXPERTS, "use_dora": True}),
    ("peft_experts_variant", {**EXPERTS, "fan_in_fan_out": True}),
    ("peft_experts_variant", {**EXPERTS, "lora_bias": True}),
    ("peft_dora_bias", {**QV, "use_dora": True, "lora_bias": True}),
    ("peft_layers_with_regex", {"target_modules": r".*\.q_proj", "layers_to_transform": [1]}),
    ("peft_layers_pattern_alone", {**QV, "layers_pattern": "layers"}),
    ("peft_orthogonal_odd", {**QV, "r": 5, "init_lora_weights": "orthogonal"}),
    ("peft_pattern_float", {**QV, "rank_pattern": {"q_proj": 3.0}}),
]
TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("peft_pattern_prefix", {**QV, "rank_pattern": {"base_model.model.model.layers.0.self_attn.q_proj": 2}}),
    ("peft_pattern_overlap", {**QV, "alpha_pattern": {"q_proj": 32, "layers.0.self_attn.q_proj": 2}}),
    ("peft_saved_and_adapted", {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head"]}),
]
SOUND: list[dict[str, Any]] = [
    QV,
    EXPERTS,
    {**QV, "use_dora": True, "lora_dropout": 0.1},
    {**QV, "layers_to_transform": [1], "layers_pattern": "layers"},
    {**QV, "r": 4, "init_lora_weights": "orthogonal"},
    {**QV, "rank_pattern": {"q_proj": 3, "v_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 2}},
    {"target_modules": "all-linear", "modules_to_save": ["lm_head"]},
]


def found(folder: Path, fields: dict[str, Any]) -> dict[str, Severity]:
    """What is found in an adapter's configuration of these fields."""
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **fields}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    config = ConfigSnapshot.from_dict(sources.adapter(folder))
    return {one.action: one.severity for one in check(config) if one.action.startswith("peft_")}


def is_taken(fields: dict[str, Any]) -> bool:
    """Whether PEFT makes an adapter of it that runs."""
    try:
        model = mixtral() if fields.get("target_parameters") else llama()
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**{"r": 4, "lora_alpha": 8, **fields}))
        wrapped(input_ids=torch.arange(4)[None])
    except (ValueError, TypeError, NotImplementedError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize(("code", "fields"), REFUSED)
def test_what_peft_refuses_is_an_error(tmp_path: Path, code: str, fields: dict[str, Any]) -> None:
    """That one alone, before any model is loaded."""
    assert found(tmp_path, fields) == {code: Severity.ERROR}
    assert not is_taken(fields)


@pytest.mark.parametrize(("code", "fields"), TAKEN)
def test_what_peft_takes_and_reads_otherwise_is_a_warning(tmp_path: Path, code: str, fields: dict[str, Any]) -> None:
    """Nothing stops such a run."""
    assert found(tmp_path, fields) == {code: Severity.WARNING}
    assert is_taken(fields)


@pytest.mark.parametrize("fields", SOUND, ids=str)
def test_what_peft_takes_as_it_is_meant_has_no_finding(tmp_path: Path, fields: dict[str, Any]) -> None:
    """No false alarm on what people write."""
    assert found(tmp_path, fields) == {}
    assert is_taken(fields)


def test_a_key_that_peft_ignores_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    """The public example has a stray alpha; what PEFT itself writes has none."""
    assert found(tmp_path, {**QV, "alpha": 16, "lora_r": 8}) == {"peft_unknown_key": Severity.WARNING}
    peft.get_peft_model(llama(), peft.LoraConfig(**QV)).save_pretrained(tmp_path)
    config = ConfigSnapshot.from_dict(sources.adapter(tmp_path))
    assert [one.action for one in check(config) if one.action.startswith("peft_")] == []


def test_every_rule_has_a_case() -> None:
    """No rule that nobody saw fire."""
    assert {code for code, _ in (*REFUSED, *TAKEN)} | {"peft_unknown_key"} == set(codes(RULES))
