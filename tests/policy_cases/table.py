"""For every rule an input on which it fires, and one as like it as can be on which it stays silent."""

import math
from typing import Final

import msgspec

from gradience.vnext.signals import NonfiniteSeen, SealSeen
from tests.policy_cases.inputs import (
    ADAPTER,
    Input,
    adapter,
    evaluated,
    events,
    peft,
    run,
    settings,
    spectrum,
    successor,
    unmeasured,
)
from tests.test_policy_detectors import FIRES, GOOD, every
from tests.test_policy_detectors import run as happened


class Pair(msgspec.Struct, frozen=True):
    """Two inputs of a rule."""

    fires: Input
    silent: Input


EXPERTS: Final = {"target_parameters": ["mlp.experts.down_proj"]}
AMPLE: Final = {name: spectrum(32, 4) for name in ADAPTER}  # four directions hold the energy
ONE_LAYER: Final = {f"layers.{i}.q_proj": [9.0 if i == 9 else 0.1] * 8 for i in range(10)}
UNEVEN: Final = {f"layers.{i}.q_proj": [1.0] * 16 if i < 2 else spectrum(16, 2) for i in range(8)}

CHECK: Final = {
    "lr_not_positive": Pair(settings(lr=0.0), settings(lr=1e-3)),
    "rank_not_positive": Pair(settings(r=0), settings(r=1, lora_alpha=1)),
    "alpha_not_positive": Pair(settings(lora_alpha=-16), settings(lora_alpha=16)),
    "fix_weight_decay": Pair(settings(weight_decay=-0.01), settings(weight_decay=0.0)),
    "setting_unreadable": Pair(settings(lr="fast"), settings(lr="2e-4")),
    "lr_low_for_lora": Pair(settings(lr=1e-5), settings(lr=1e-5, rl="grpo")),
    "lr_high_for_lora": Pair(settings(lr=7e-4, model_name="org/model-70b"), settings(lr=7e-4)),
    "scale_unusual": Pair(settings(r=4, lora_alpha=64), settings(r=4, lora_alpha=32)),
    "rslora_scale_jump": Pair(
        settings(r=64, lora_alpha=128, use_rslora=True), settings(r=64, lora_alpha=64, use_rslora=True)
    ),
    "high_rank_standard_scale": Pair(settings(r=64, lora_alpha=64), settings(r=64, lora_alpha=64, use_rslora=True)),
    "targets_attention_only": Pair(
        settings(target_modules=["q_proj", "v_proj"]), settings(target_modules=["q_proj", "up_proj"])
    ),
    "batch_large_for_lora": Pair(
        settings(per_device_train_batch_size=16, gradient_accumulation_steps=4),
        settings(per_device_train_batch_size=16, gradient_accumulation_steps=2),
    ),
    "epochs_many": Pair(settings(num_train_epochs=5), settings(num_train_epochs=5, max_steps=100_000)),
    "weight_decay_inert": Pair(settings(max_steps=1000), settings(max_steps=100_000)),
    "no_eval_split": Pair(settings(eval_strategy="no"), settings(eval_strategy=None)),
    "last_not_best": Pair(
        settings(load_best_model_at_end=False), settings(load_best_model_at_end=False, eval_strategy="no")
    ),
    "nan_hidden": Pair(settings(logging_nan_inf_filter=True), settings(logging_nan_inf_filter=None)),
    "quantized_base": Pair(settings(load_in_4bit=True), settings(load_in_4bit=False)),
    "adapter_low_precision": Pair(settings(lr=2e-5, pure_bf16=True), settings(lr=2e-5, bf16=True)),
    "dropout_high": Pair(settings(lora_dropout=0.3), settings(lora_dropout=0.2)),
    "warmup_absent": Pair(settings(lr=5e-4, warmup_steps=0), settings(lr=5e-4, warmup_ratio=0.03)),
    "peft_unknown_key": Pair(peft(lora_rank=8), peft(revision="main")),
    "peft_experts_dropout": Pair(peft(**EXPERTS, lora_dropout=0.1), peft(**EXPERTS, lora_dropout=0.0)),
    "peft_experts_variant": Pair(peft(**EXPERTS, use_dora=True), peft(use_dora=True)),
    "peft_dora_bias": Pair(peft(use_dora=True, lora_bias=True), peft(use_dora=False, lora_bias=True)),
    "peft_layers_with_regex": Pair(
        peft(target_modules=r".*\.q_proj", layers_to_transform=[1]),
        peft(target_modules=["q_proj"], layers_to_transform=[1]),
    ),
    "peft_layers_pattern_alone": Pair(
        peft(layers_pattern="layers"), peft(layers_pattern="layers", layers_to_transform=[1])
    ),
    "peft_orthogonal_odd": Pair(peft(r=5, init_lora_weights="orthogonal"), peft(r=6, init_lora_weights="orthogonal")),
    "peft_saved_and_adapted": Pair(peft(modules_to_save=["q_proj"]), peft(modules_to_save=["lm_head"])),
    "peft_pattern_prefix": Pair(
        peft(rank_pattern={"base_model.model.layers.0.q_proj": 2}), peft(rank_pattern={"layers.0.q_proj": 2})
    ),
    "peft_pattern_float": Pair(peft(rank_pattern={"q_proj": 2.0}), peft(rank_pattern={"q_proj": 2})),
    "peft_pattern_overlap": Pair(
        peft(alpha_pattern={"q_proj": 32, "layers.0.q_proj": 2}), peft(alpha_pattern={"q_proj": 32, "v_proj": 2})
    ),
}
AUDIT: Final = {
    "adapter_nonfinite": Pair(unmeasured("layers.0.q_proj"), unmeasured()),
    "adapter_untrained": Pair(
        adapter({name: [0.0] * 16 for name in ADAPTER}), adapter({**ADAPTER, "layers.0.q_proj": [0.0] * 16})
    ),
    "audit_abstained": Pair(adapter(init_lora_weights="pissa"), adapter(init_lora_weights="gaussian")),
    "over_provisioned": Pair(adapter(AMPLE), adapter({name: spectrum(4, 2) for name in ADAPTER})),
    "flat_spectrum": Pair(adapter({name: [2.0] * 16 for name in ADAPTER}), adapter(AMPLE)),
    "rank1_dominated": Pair(adapter({name: [10.0, *[0.5] * 7] for name in ADAPTER}), adapter(AMPLE)),
    "dead_modules": Pair(
        adapter({**ADAPTER, "layers.0.q_proj": [1e-4] * 16}), adapter({**ADAPTER, "layers.0.q_proj": [0.1] * 16})
    ),
    "energy_concentrated": Pair(adapter(ONE_LAYER), adapter({name: [1.0] * 8 for name in ONE_LAYER})),
    "uneven_rank_use": Pair(adapter(UNEVEN), adapter()),
    "capacity_low": Pair(
        adapter(training={"completion_tokens": 10_000_000}), adapter(training={"completion_tokens": 10_000})
    ),
    "intruder_dims": Pair(adapter(intruders={"layers.0.q_proj": 2}), adapter(intruders={"layers.0.q_proj": 0})),
    "update_dominant": Pair(
        adapter(udr={"layers.0.q_proj": 0.4}),
        adapter({**ADAPTER, "layers.0.q_proj": [1e-3] * 16}, udr={"layers.0.q_proj": 0.4}),
    ),
}
MONITOR: Final = {
    "loss_nonfinite": Pair(
        run(nonfinite=(NonfiniteSeen(name="train_step/loss", value="NaN", step=3, line=4),)),
        run(nonfinite=(NonfiniteSeen(name="train_step/my_metric", value="NaN", step=3, line=4),)),
    ),
    "run_failed": Pair(run(status="error"), run()),
    "run_unfinished": Pair(run(status=None, ended=False), run(status=None, ended=False, counts={})),
    "journal_changed": Pair(
        run(seal=SealSeen(line=9, lines=8, is_intact=False)), run(seal=SealSeen(line=9, lines=8, is_intact=True))
    ),
    "memorization_gap": Pair(run(gap=1.5, test_split="test"), run(gap=1.49, test_split="test")),
    "gap_unavailable": Pair(run(gap=None), run(gap=None, counts={"metrics": 1})),
    "loss_diverged": Pair(events(FIRES["loss_diverged"]), events(FIRES["loss_spike"])),
    "loss_spike": Pair(events(FIRES["loss_spike"]), events(happened(GOOD))),
    "grad_explosion": Pair(events(FIRES["grad_explosion"]), events(happened(GOOD, norm=lambda step: 1.0 + step / 20))),
    "loss_plateau": Pair(
        events(FIRES["loss_plateau"]),
        events(happened([2.0 + 0.01 * math.sin(step) for step in range(400)], lr=lambda step: 1e-4 / (1 + step // 50))),
    ),
    "overfitting": Pair(
        events(FIRES["overfitting"]), events(happened(GOOD, every(50, lambda i: {"loss": 1.0 + 0.003 * abs(i - 3)})))
    ),
    "eval_regression": Pair(
        events(FIRES["eval_regression"]),
        events(happened(GOOD, every(50, lambda i: {"accuracy": 0.9 - 0.01 * (i == 8), "n": 500}))),
    ),
    "never_improved": Pair(events(FIRES["never_improved"]), events(happened(GOOD, {200: {"loss": 0.9}}))),
}
REGRESSION: Final = {
    "regression_untrained": Pair(successor(has_untrained=True), successor()),
    "regression_modules": Pair(successor(n_layers=1), successor(n_layers=20)),
    "regression_rank_waste": Pair(successor(rank_waste=0.9), successor(rank_waste=0.0)),
    "regression_spectral_norm": Pair(successor(sigma_max=3.1), successor(sigma_max=2.9)),
    "regression_vanished": Pair(successor(fro_norm=0.3), successor(fro_norm=3.0)),
}
VERIFICATION: Final = {
    "verification_failed": Pair(evaluated("fail", 0.75, 0.01), evaluated("pass", 0.799, 0.002)),
    "verification_inconclusive": Pair(evaluated("inconclusive", 0.79, 0.02), evaluated("pass", 0.799, 0.002)),
}
TABLE: Final = {**CHECK, **AUDIT, **MONITOR, **REGRESSION, **VERIFICATION}
