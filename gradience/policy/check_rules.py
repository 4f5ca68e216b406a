"""The rules over a configuration, before training. Each fires on what the configuration says, never on a guess."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from gradience.policy import schedule
from gradience.policy.rule import Finder, Match, Thresholds
from gradience.settings import task
from gradience.settings.task import Objective
from gradience.vnext.types import ConfigSnapshot, Severity

# Names that are attention projections in every family; GPT-2's c_proj and BERT's dense are in both, so not here.
_ATTENTION: Final = (
    "q_proj k_proj v_proj o_proj out_proj qkv_proj Wqkv qkv query key value query_key_value c_attn q_lin k_lin v_lin "
    "out_lin to_q to_k to_v q k v o q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj"
)
ATTENTION: Final = frozenset(_ATTENTION.split())

# Fields that rules judge; one in the extras of its part held what does not fit it.
_JUDGED: Final = frozenset({"lr", "weight_decay", "r", "alpha", "target_modules"})


class CheckCase(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and what it is read as."""

    config: ConfigSnapshot
    objective: Objective
    model_size_b: float | None  # billions of parameters, where the model's name says

    @property
    def lr(self) -> float | None:
        """The learning rate, if it is a usable number."""
        lr = self.config.optimizer.lr
        return lr if lr is not None and math.isfinite(lr) and lr > 0 else None

    @property
    def use_rslora(self) -> bool:
        """Whether the scale is alpha / sqrt(r)."""
        return self.config.lora.extras.get("use_rslora") is True

    @property
    def scale(self) -> float | None:
        """The factor on B @ A: alpha / r, or alpha / sqrt(r) with rsLoRA."""
        r, alpha = self.config.lora.r, self.config.lora.alpha
        if not r or r < 0 or alpha is None:
            return None
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r

    @property
    def training(self) -> Mapping[str, Any]:
        """Training settings that have no field of their own, under transformers' names."""
        return self.config.training.extras


def case(config: ConfigSnapshot) -> CheckCase:
    """Read a configuration for the rules."""
    extras = config.training.extras
    said = [config.extras.get("task"), *(extras.get(key) for key in ("task", "rl", "stage", "trainer", "objective"))]
    return CheckCase(config=config, objective=task.objective(said), model_size_b=_billions(config.model_name))


def completion_tokens(config: ConfigSnapshot) -> int | None:
    """The tokens that a supervised run learns from, where its training settings count them."""
    tokens = config.training.extras.get("completion_tokens")
    return tokens if isinstance(tokens, int) and tokens > 0 and case(config).objective == "sft" else None


def lr_not_positive(case: CheckCase, _: Thresholds) -> Match | None:
    """Zero, negative or not finite."""
    lr = case.config.optimizer.lr
    return Match(facts={"lr": lr}) if lr is not None and case.lr is None else None


def rank_not_positive(case: CheckCase, _: Thresholds) -> Match | None:
    """PEFT refuses it."""
    r = case.config.lora.r
    return Match(facts={"r": r}) if r is not None and r <= 0 else None


def alpha_not_positive(case: CheckCase, _: Thresholds) -> Match | None:
    """Zero makes the adapter a no-op for ever; a negative one only flips a sign, and is nearly always a slip."""
    alpha = case.config.lora.alpha
    return Match(facts={"alpha": alpha}) if alpha is not None and not alpha > 0 else None


def fix_weight_decay(case: CheckCase, _: Thresholds) -> Match | None:
    """It would push weights away from zero."""
    decay = case.config.optimizer.weight_decay
    return Match(facts={"weight_decay": decay}) if decay is not None and not decay >= 0 else None


def setting_unreadable(case: CheckCase, _: Thresholds) -> Match | None:
    """A value that is no number where one belongs would pass every rule in silence."""
    parts = (case.config.optimizer.extras, case.config.lora.extras)
    names = [name for part in parts for name in part if name in _JUDGED]
    return Match(facts={"names": ", ".join(names)}) if names else None


def lr_low_for_lora(case: CheckCase, limits: Thresholds) -> Match | None:
    """Below the range of the objective."""
    bar = limits[f"{case.objective}_min"]
    if case.lr is None or case.lr >= bar:
        return None
    return Match(facts={"lr": case.lr, "objective": case.objective, "bar": bar, "try_lr": case.lr * 10})


def lr_high_for_lora(case: CheckCase, limits: Thresholds) -> Match | None:
    """Above the range of the objective and size."""
    bar = limits[f"{case.objective}_max"]
    if case.objective == "sft" and (case.model_size_b or 0) >= limits["large_model_b"]:
        bar = limits["sft_large_max"]
    if case.lr is None or case.lr <= bar:
        return None
    return Match(facts={"lr": case.lr, "objective": case.objective, "bar": bar, "try_lr": case.lr / 3})


def scale_unusual(case: CheckCase, limits: Thresholds) -> Match | None:
    """Outside what published recipes use; a large scale under rsLoRA has a rule of its own."""
    if case.scale is None or case.scale <= 0 or limits["scale_min"] <= case.scale <= limits["scale_max"]:
        return None
    if case.use_rslora and case.scale > limits["scale_max"]:
        return None
    return Match(facts={"scale": case.scale, "r": case.config.lora.r, "alpha": case.config.lora.alpha})


def rslora_scale_jump(case: CheckCase, limits: Thresholds) -> Match | None:
    """An alpha meant for alpha / r, kept when rsLoRA was switched on."""
    lora = case.config.lora
    if not case.use_rslora or case.scale is None or case.scale <= limits["scale_max"] or not lora.r:
        return None
    return Match(facts={"alpha": lora.alpha, "r": lora.r, "scale": case.scale, "times": math.sqrt(lora.r)})


def high_rank_standard_scale(case: CheckCase, limits: Thresholds) -> Match | None:
    """A high rank under alpha / r."""
    r = case.config.lora.r
    return Match(facts={"r": r}) if r is not None and r >= limits["r_min"] and not case.use_rslora else None


def targets_attention_only(case: CheckCase, _: Thresholds) -> Match | None:
    """Every target is a known attention projection."""
    targets = case.config.lora.target_modules
    if not targets or case.config.lora.extras.get("target_parameters"):
        return None
    if any(target.rsplit(".", 1)[-1] not in ATTENTION for target in targets):
        return None
    return Match(facts={"targets": list(targets)})


def batch_large_for_lora(case: CheckCase, limits: Thresholds) -> Match | None:
    """The batch of one optimiser step on one device; more devices only make it larger."""
    training = case.config.training
    if training.batch_size is None or case.objective != "sft":
        return None
    batch = training.batch_size * (training.gradient_accumulation or 1)
    return Match(facts={"batch": batch}) if batch > limits["batch_max"] else None


def epochs_many(case: CheckCase, limits: Thresholds) -> Match | None:
    """More passes than instruction-tuning recipes use; max_steps, where set, overrides epochs."""
    epochs, steps = case.config.training.epochs, case.config.training.max_steps
    if epochs is None or (steps or 0) > 0 or epochs <= limits["epochs_info"] or case.objective != "sft":
        return None
    severe = epochs > limits["epochs_warning"]
    return Match(facts={"epochs": epochs}, severity=Severity.WARNING if severe else Severity.INFO)


def weight_decay_inert(case: CheckCase, limits: Thresholds) -> Match | None:
    """AdamW shrinks weights by 1 - exp(-sum of lr x decay), the sum being that of the schedule where it is known."""
    decay, steps = case.config.optimizer.weight_decay, case.config.training.max_steps
    if not decay or decay < 0 or not steps or steps < 0 or case.lr is None:
        return None
    shrink = -math.expm1(-case.lr * decay * schedule.full_steps(steps, case.training))
    return Match(facts={"weight_decay": decay, "shrink": shrink}) if shrink < limits["shrink_min"] else None


def no_eval_split(case: CheckCase, _: Thresholds) -> Match | None:
    """The settings say that nothing is evaluated; silence says nothing."""
    return Match() if _evaluates(case) is False else None


def last_not_best(case: CheckCase, _: Thresholds) -> Match | None:
    """There is an evaluation, and the best checkpoint is not loaded at the end."""
    kept = case.training.get("load_best_model_at_end")
    return Match() if _evaluates(case) and kept is False else None


def nan_hidden(case: CheckCase, _: Thresholds) -> Match | None:
    """The filter is on."""
    return Match() if case.training.get("logging_nan_inf_filter") is True else None


def quantized_base(case: CheckCase, _: Thresholds) -> Match | None:
    """The settings load the base in 4 or 8 bit."""
    flags = [key for key in ("load_in_4bit", "load_in_8bit") if case.training.get(key) is True]
    return Match(facts={"flag": flags[0]}) if flags else None


def dropout_high(case: CheckCase, limits: Thresholds) -> Match | None:
    """More dropout on the adapter than recipes use."""
    dropout = case.config.lora.dropout
    return Match(facts={"dropout": dropout}) if dropout is not None and dropout > limits["dropout_max"] else None


def warmup_absent(case: CheckCase, limits: Thresholds) -> Match | None:
    """A high learning rate from the first step on; where nothing is said of a warm-up there is none to judge."""
    told = [case.training.get(name) for name in ("warmup_steps", "warmup_ratio")]
    if case.lr is None or case.lr < limits["lr_min"] or case.objective != "sft":
        return None
    return Match(facts={"lr": case.lr}) if any(one is not None for one in told) and not any(told) else None


def adapter_low_precision(case: CheckCase, limits: Thresholds) -> Match | None:
    """The adapter's own weights are kept in 16 bit, and a step is below half the spacing of typical ones."""
    dtype = _adapter_dtype(case)
    if dtype is None or case.lr is None or case.lr >= limits[f"{dtype}_lr"]:
        return None
    return Match(facts={"dtype": dtype, "lr": case.lr, "bar": limits[f"{dtype}_lr"]})


def _adapter_dtype(case: CheckCase) -> Literal["bfloat16", "float16"] | None:
    """Where the settings say that the adapter is not kept in fp32, as PEFT does unless it is told otherwise."""
    said = case.training
    if said.get("pure_bf16") is True or str(said.get("bf16")).lower() == "full":  # LLaMA-Factory, axolotl
        return "bfloat16"
    if said.get("autocast_adapter_dtype") is not False:
        return None
    dtype = str(case.config.training.dtype).lower().rpartition(".")[2]
    return "bfloat16" if dtype in ("bfloat16", "bf16") else "float16" if dtype in ("float16", "fp16", "half") else None


def _evaluates(case: CheckCase) -> bool | None:
    """True or False where the settings say so, None where they are silent."""
    strategy = case.training.get("eval_strategy")
    if strategy is not None:
        return str(strategy).lower().removeprefix("intervalstrategy.") not in ("no", "false")
    for key in ("val_set_size", "do_eval"):  # the names of axolotl and LLaMA-Factory, and of transformers' scripts
        if case.training.get(key) is not None:
            return bool(case.training[key])
    return None


def _billions(model: str | None) -> float | None:
    found = re.search(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", (model or "").lower())
    return float(found.group(1) or 1) * float(found.group(2)) if found else None


RULES: Final[tuple[Finder[CheckCase], ...]] = (
    lr_not_positive,
    rank_not_positive,
    alpha_not_positive,
    fix_weight_decay,
    setting_unreadable,
    lr_low_for_lora,
    lr_high_for_lora,
    scale_unusual,
    rslora_scale_jump,
    high_rank_standard_scale,
    targets_attention_only,
    batch_large_for_lora,
    epochs_many,
    weight_decay_inert,
    no_eval_split,
    last_not_best,
    nan_hidden,
    quantized_base,
    dropout_high,
    warmup_absent,
    adapter_low_precision,
)
