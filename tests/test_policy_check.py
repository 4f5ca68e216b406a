import math
import time
from typing import Any

import msgspec
import pytest

from gradience.policy.check import check, worst
from gradience.policy.check_rules import RULES
from gradience.policy.rule import TEXT_LIMIT, codes
from gradience.settings.snapshot import snapshot
from gradience.vnext.types import ConfigSnapshot
from tests.policy_cases.inputs import SETTINGS

CASES: list[tuple[str, dict[str, Any]]] = [
    ("lr_not_positive", {"lr": 0.0}),
    ("lr_not_positive", {"lr": -1e-4}),
    ("lr_not_positive", {"lr": math.nan}),
    ("rank_not_positive", {"r": 0}),
    ("alpha_not_positive", {"lora_alpha": 0}),
    ("alpha_not_positive", {"lora_alpha": -16}),
    ("fix_weight_decay", {"weight_decay": -5}),
    ("setting_unreadable", {"lr": "fast"}),
    ("setting_unreadable", {"r": 8.5}),
    ("lr_low_for_lora", {"lr": 1e-5}),
    ("lr_low_for_lora", {"lr": 1e-7, "rl": "dpo"}),
    ("lr_low_for_lora", {"lr": 5e-7, "rl": "grpo"}),
    ("lr_high_for_lora", {"lr": 2e-3}),
    ("lr_high_for_lora", {"lr": 7e-4, "model_name": "org/model-70b-instruct"}),
    ("lr_high_for_lora", {"lr": 7e-4, "model_name": "org/moe-8x7B"}),
    ("lr_high_for_lora", {"lr": 1e-4, "rl": "dpo"}),
    ("scale_unusual", {"r": 32, "lora_alpha": 4}),
    ("scale_unusual", {"r": 4, "lora_alpha": 64}),
    ("rslora_scale_jump", {"r": 64, "lora_alpha": 128, "use_rslora": True}),
    ("high_rank_standard_scale", {"r": 64, "lora_alpha": 64}),
    ("targets_attention_only", {"target_modules": ["q_proj", "v_proj"]}),
    ("batch_large_for_lora", {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4}),
    ("epochs_many", {"num_train_epochs": 5}),
    ("weight_decay_inert", {"max_steps": 1000}),
    ("no_eval_split", {"eval_strategy": "no"}),
    ("no_eval_split", {"eval_strategy": None, "val_set_size": 0}),
    ("last_not_best", {"load_best_model_at_end": False}),
    ("nan_hidden", {"logging_nan_inf_filter": True}),
    ("quantized_base", {"load_in_4bit": True}),
    ("adapter_low_precision", {"lr": 2.5e-5, "bf16": "full"}),
    ("adapter_low_precision", {"lr": 3e-6, "rl": "dpo", "dtype": "torch.float16", "autocast_adapter_dtype": False}),
    ("dropout_high", {"lora_dropout": 0.3}),
    ("warmup_absent", {"lr": 5e-4, "warmup_steps": 0}),
]


def _codes(**changed: Any) -> list[str]:
    return [finding.action for finding in check(snapshot({**SETTINGS, **changed}))]


def test_sound_settings_give_no_finding() -> None:
    """Settings inside every published range."""
    assert _codes() == []


def test_nothing_known_gives_no_finding() -> None:
    """A rule fires on what a configuration says, never on what it leaves out."""
    assert check(ConfigSnapshot()) == []


@pytest.mark.parametrize(("code", "changed"), CASES)
def test_one_unsound_setting_gives_its_finding_alone(code: str, changed: dict[str, Any]) -> None:
    """Each rule fires on its own condition and on no other's."""
    assert _codes(**changed) == [code]


def test_every_rule_is_shown_to_fire() -> None:
    """No rule without a case that makes it fire."""
    assert {code for code, _ in CASES} == set(codes(RULES))


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 2e-5},
        {"lr": 1e-3, "model_name": "org/model-0.5B"},
        {"lr": 5e-6, "rl": "dpo"},
        {"r": 128, "lora_alpha": 32, "use_rslora": True},
        {"target_modules": ["q_proj", "v_proj", "up_proj"]},
        {"target_modules": ["c_attn", "c_proj"]},
        {"max_steps": 100_000},
        {"num_train_epochs": 3},
        {"eval_strategy": None},
        {"lr": 2e-5, "bf16": True},
        {"lr": 2e-5, "dtype": "float16", "autocast_adapter_dtype": False},
        {"lora_dropout": 0.2},
        {"lr": 5e-4, "warmup_ratio": 0.03},
        {"lr": 5e-4},
        {"lr": 2.9e-4, "warmup_steps": 0},
    ],
)
def test_settings_at_the_edge_or_not_known_give_no_finding(changed: dict[str, Any]) -> None:
    """Edges are allowed; where the settings are silent or ambiguous, so are the rules."""
    assert _codes(**changed) == []


@pytest.mark.parametrize("profile", ["easy_classification", "hard_reasoning", "generation", "unknown"])
def test_what_cannot_train_is_an_error_in_every_profile(profile: str) -> None:
    """A negative learning rate, rank or weight decay is wrong whatever the task is."""
    codes = _codes(lr=-1.0, r=-4, weight_decay=-5, task_profile=profile)
    assert codes[:3] == ["fix_weight_decay", "lr_not_positive", "rank_not_positive"]


def test_very_many_epochs_are_a_warning() -> None:
    """Info above three, warning above ten."""
    found = [check(snapshot({**SETTINGS, "num_train_epochs": epochs}))[0] for epochs in (4, 11)]
    assert [finding.severity.value for finding in found] == ["info", "warning"]


def test_the_three_worst_are_shown() -> None:
    """Errors before warnings before hints."""
    found = check(snapshot({**SETTINGS, "lr": 2e-3, "weight_decay": -1, "eval_strategy": "no", "num_train_epochs": 5}))
    assert [finding.action for finding in worst(found)] == ["fix_weight_decay", "no_eval_split", "lr_high_for_lora"]


@pytest.mark.parametrize(("code", "changed"), CASES)
def test_every_text_of_a_finding_fits_the_recorder(code: str, changed: dict[str, Any]) -> None:
    """Findings may be recorded, so no text reaches the length at which it would be redacted."""
    (finding,) = [one for one in check(snapshot({**SETTINGS, **changed})) if one.action == code]
    assert max(len(text) for text in msgspec.to_builtins(finding).values() if isinstance(text, str)) < TEXT_LIMIT


def test_tens_of_thousands_of_patterns_take_no_time() -> None:
    """Each is looked up by its endings, not held against every other."""
    pattern = {f"model.layers.{i}.q_proj": i % 7 + 1 for i in range(60_000)}
    started = time.monotonic()
    found = check(snapshot({"peft_type": "LORA", "r": 8, "rank_pattern": pattern}))
    assert "peft_pattern_overlap" not in [one.action for one in found]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("schedule", "fires"), [("linear", True), ("cosine", True), ("constant", False), (None, False)]
)
def test_weight_decay_is_judged_by_the_schedule(schedule: str | None, fires: bool) -> None:
    """What falls to zero shrinks half as much; where nothing is said of a schedule, the most is assumed."""
    codes = _codes(lr=2e-4, weight_decay=0.1, max_steps=800, lr_scheduler_type=schedule)
    assert ("weight_decay_inert" in codes) == fires


def test_what_is_no_name_among_names_is_passed_over() -> None:
    """Numbers and mappings in lists and as keys of patterns."""
    _codes(peft_type="LORA", modules_to_save=[{}, "q_proj"], rank_pattern={1: 2, "a.b": 3}, target_modules=["q_proj"])
