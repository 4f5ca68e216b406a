"""What each pre-flight rule says, where it comes from and what would refute it."""

from typing import Final

from gradience.policy import check_rules as rules
from gradience.policy.check_rules import CheckCase
from gradience.policy.rule import Rule
from gradience.vnext.types import Severity

IMPOSSIBLE: Final[tuple[Rule[CheckCase], ...]] = (
    Rule(
        code="lr_not_positive",
        severity=Severity.ERROR,
        confidence="certain",
        find=rules.lr_not_positive,
        message="The learning rate is {lr}; it has to be a positive number.",
        source="arithmetic",
    ),
    Rule(
        code="rank_not_positive",
        severity=Severity.ERROR,
        confidence="certain",
        find=rules.rank_not_positive,
        message="The rank is {r}; PEFT refuses any below 1.",
        source="PEFT raises on it",
    ),
    Rule(
        code="alpha_not_positive",
        severity=Severity.ERROR,
        confidence="certain",
        find=rules.alpha_not_positive,
        message="alpha is {alpha:g}; at zero the adapter does nothing for ever, below zero its sign is turned.",
        source="arithmetic: the update is alpha / r x B @ A",
    ),
    Rule(
        code="fix_weight_decay",
        severity=Severity.ERROR,
        confidence="certain",
        find=rules.weight_decay_negative,
        message="Weight decay is {weight_decay:g}; a negative one pushes the weights away from zero.",
        source="arithmetic",
    ),
    Rule(
        code="setting_unreadable",
        severity=Severity.WARNING,
        confidence="certain",
        find=rules.setting_unreadable,
        message="The value of {names} cannot be read, so that no rule has looked at it.",
        source="definition",
        test="Give a plain number; for target_modules the names.",
    ),
)

LEARNING: Final[tuple[Rule[CheckCase], ...]] = (
    Rule(
        code="lr_low_for_lora",
        severity=Severity.WARNING,
        confidence="medium",
        find=rules.lr_low,
        message="Learning rate {lr:g} is a value for full fine-tuning ({objective} with LoRA: {bar:g} and up).",
        source="LoRA's best learning rate is about 10x that of full fine-tuning: LoRA Without Regret; TRL; "
        "Biderman et al. 2405.09673 (5e-5 to 5e-4)",
        thresholds={"sft_min": 2e-5, "preference_min": 5e-7, "rl_min": 1e-6},
        hypothesis="The adapter learns too slowly to show what it could do.",
        test="One run at {try_lr:g}: no lower evaluation loss refutes it.",
        limits="The best value depends on scale, batch and data.",
    ),
    Rule(
        code="lr_high_for_lora",
        severity=Severity.WARNING,
        confidence="medium",
        find=rules.lr_high,
        message="Learning rate {lr:g} is above the range in which LoRA runs are usually stable ({objective}: {bar:g}).",
        source="Biderman et al. sweep up to 5e-4; QLoRA 1e-4 for 33B and 65B; the edge itself is heuristic",
        thresholds={
            "sft_max": 1e-3,
            "sft_large_max": 5e-4,
            "large_model_b": 30,
            "preference_max": 5e-5,
            "rl_max": 1e-4,
        },
        hypothesis="The run diverges, or ends worse than it could.",
        test="One run at {try_lr:.2g}: no better evaluation or stability refutes it.",
        limits="Small models and a small scale stand more.",
    ),
    Rule(
        code="scale_unusual",
        severity=Severity.INFO,
        confidence="medium",
        find=rules.scale_unusual,
        message="The effective LoRA scale is {scale:.3g} (r={r}, alpha={alpha:g}); recipes use {scale_min:g} to "
        "{scale_max:g}.",
        source="published recipes: QLoRA 0.25, alpha = 2r gives 2, LoRA on GPT-2 8",
        thresholds={"scale_min": 0.25, "scale_max": 8},
        hypothesis="Under Adam the scale acts like a factor on the learning rate: both want tuning together.",
        test="A learning-rate sweep at scale 1 to 2: the same best evaluation refutes that the scale matters.",
    ),
    Rule(
        code="rslora_scale_jump",
        severity=Severity.INFO,
        confidence="medium",
        find=rules.rslora_scale_jump,
        message="rsLoRA with alpha={alpha:g} at r={r} gives scale {scale:.3g}, {times:.3g}x that of alpha / r.",
        source="arithmetic; PEFT MetaMathQA at r=64: alpha=64 with rsLoRA (scale 8) 51.3, alpha=128 without (2) 47.4",
        thresholds={"scale_max": 8},
        hypothesis="alpha was chosen for alpha / r; the learning rate wants re-tuning.",
        test="A learning-rate sweep: the same best value as before the switch refutes it.",
    ),
    Rule(
        code="high_rank_standard_scale",
        severity=Severity.INFO,
        confidence="low",
        find=rules.high_rank_standard_scale,
        message="Rank {r} with the scale alpha / r: the update per direction shrinks as the rank grows.",
        source="rsLoRA 2312.03732; against it, LoRA Without Regret: under alpha / r the best learning rate stays",
        thresholds={"r_min": 64},
        hypothesis="If this rank is no better than a lower one, the scale holds it back.",
        test="One run with use_rslora, or twice the learning rate: no gain refutes it.",
    ),
    Rule(
        code="targets_attention_only",
        severity=Severity.INFO,
        confidence="high",
        find=rules.targets_attention_only,
        message="Only attention layers are adapted.",
        source="LoRA Without Regret; QLoRA; Biderman et al.; PEFT MetaMathQA: r=10 on MLPs 49.4, r=32 on q and v 47.8, "
        "at 9.2 to 9.5 M parameters",
        hypothesis="The same number of parameters over all linear layers does better.",
        test='One run with target_modules="all-linear" at equal parameters: no gain refutes it.',
    ),
    Rule(
        code="batch_large_for_lora",
        severity=Severity.INFO,
        confidence="low",
        find=rules.batch_large,
        message="{batch} examples per optimiser step: LoRA stands large batches less well than full fine-tuning.",
        source="LoRA Without Regret; TRL; against it, 2602.09492: the best size depends on the data",
        thresholds={"batch_max": 32},
        hypothesis="A smaller batch learns more from the same tokens.",
        test="One run at a quarter of the batch and equal tokens: no gain refutes it.",
    ),
    Rule(
        code="epochs_many",
        severity=Severity.INFO,
        confidence="low",
        find=rules.epochs_many,
        message="{epochs:g} epochs: watch the evaluation loss, and keep the best checkpoint rather than the last.",
        source="Unsloth 1 to 3; Tulu 3: 2; LIMA 15 is the exception",
        thresholds={"epochs_info": 3, "epochs_warning": 10},
        hypothesis="Later epochs over-fit.",
        test="The evaluation loss still falls at the end: refuted.",
    ),
    Rule(
        code="weight_decay_inert",
        severity=Severity.INFO,
        confidence="certain",
        find=rules.weight_decay_inert,
        message="Weight decay {weight_decay:g} shrinks the adapter by at most {shrink:.2%} over the whole run.",
        source="arithmetic of AdamW: 1 - exp(-sum of lr x decay)",
        thresholds={"shrink_min": 0.01},
    ),
)

EVALUATION: Final[tuple[Rule[CheckCase], ...]] = (
    Rule(
        code="no_eval_split",
        severity=Severity.WARNING,
        confidence="certain",
        find=rules.no_eval_split,
        message="Nothing is evaluated during training: over-fitting stays unseen and rank advice cannot be verified.",
        source="transformers' default is eval_strategy='no'",
        test="Hold out a split and set eval_strategy='steps'.",
    ),
    Rule(
        code="last_not_best",
        severity=Severity.INFO,
        confidence="certain",
        find=rules.last_not_best,
        message="The last checkpoint is kept at the end, not the best one.",
        source="transformers' default is load_best_model_at_end=False",
        test="Compare the last evaluation with the best.",
    ),
    Rule(
        code="nan_hidden",
        severity=Severity.INFO,
        confidence="certain",
        find=rules.nan_hidden,
        message="A loss that is not a number will be logged as 0: logging_nan_inf_filter is on.",
        source="transformers' default",
        test="Watch grad_norm as well, or set logging_nan_inf_filter=False.",
    ),
    Rule(
        code="quantized_base",
        severity=Severity.INFO,
        confidence="certain",
        find=rules.quantized_base,
        message="The base is quantised ({flag}): small singular values may be compensating for its rounding.",
        source="QLoRA 2305.14314; LoftQ 2310.08659",
        test="Verify a compressed adapter on the same quantised base.",
    ),
)

RULES: Final = (*IMPOSSIBLE, *LEARNING, *EVALUATION)
