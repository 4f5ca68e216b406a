"""The fields of PEFT's LoraConfig, by which a misspelt one is known: PEFT itself ignores it with a warning."""

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN: Final = "unknown_keys"  # among the extras of the adapter's part
_FIELDS: Final = (  # of PEFT 0.21; earlier ones have fewer
    "alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path bias corda_config "
    "ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config "
    "layer_replication layers_pattern layers_to_transform loftq_config lora_B_layout lora_alpha lora_bias lora_dropout "
    "lora_ga_config megatron_config megatron_core modules_to_save monteclora_config peft_type peft_version "
    "qalora_group_size r rank_pattern revision runtime_config target_modules target_parameters task_type "
    "trainable_token_indices use_bdlora use_dora use_qalora use_rslora velora_config"
)
FIELDS: Final = frozenset(_FIELDS.split())


def unknown(fields: Mapping[str, Any]) -> list[str]:
    """Keys of an adapter_config.json of LoRA that PEFT does not have."""
    return sorted(fields.keys() - FIELDS) if fields.get("peft_type") == "LORA" else []
