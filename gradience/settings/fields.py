"""Which name in which tool's file is which field of `ConfigSnapshot`: the first name that is given wins."""

from typing import Final

MODEL: Final = ("model_name", "model_name_or_path", "base_model_name_or_path", "base_model", "model")
DATASET: Final = ("dataset_name", "dataset", "data")
PROFILE: Final = ("task_profile", "taskProfile", "profile")

OPTIMIZER: Final = {
    "name": ("optimizer", "optim", "optimizer_name", "optim_name"),
    "lr": ("lr", "learning_rate", "learningRate"),
    "weight_decay": ("weight_decay", "wd", "weightDecay"),
    "eps": ("adam_epsilon", "eps"),
}
LORA: Final = {
    "r": ("r", "rank", "lora_r", "lora_rank"),
    "alpha": ("lora_alpha", "alpha", "loraAlpha"),
    "target_modules": ("target_modules", "lora_target_modules", "lora_target", "targets", "modules"),
    "dropout": ("lora_dropout", "dropout"),
    "bias": ("bias",),
}
TRAINING: Final = {
    "seed": ("seed",),
    "batch_size": ("batch_size", "per_device_train_batch_size", "micro_batch_size"),
    "gradient_accumulation": ("gradient_accumulation", "gradient_accumulation_steps"),
    "max_steps": ("max_steps",),
    "epochs": ("epochs", "num_train_epochs", "num_epochs"),
    "dtype": ("dtype", "torch_dtype"),
}
# What decides the adapter's scale and kind, under PEFT's own names; other tools' names for them on the right.
LORA_EXTRAS: Final = {
    "use_rslora": ("use_rslora", "peft_use_rslora"),
    "use_dora": ("use_dora", "peft_use_dora"),
    "init_lora_weights": ("init_lora_weights", "peft_init_lora_weights"),
    "rank_pattern": ("rank_pattern", "lora_rank_pattern"),
    "alpha_pattern": ("alpha_pattern", "lora_alpha_pattern"),
    "target_parameters": ("target_parameters", "lora_target_parameters"),
    "modules_to_save": ("modules_to_save", "lora_modules_to_save"),
    "peft_type": ("peft_type",),
    "task_type": ("task_type",),
    "loraplus_lr_ratio": ("loraplus_lr_ratio",),
    "layers_to_transform": ("layers_to_transform", "peft_layers_to_transform"),
    "layers_pattern": ("layers_pattern", "peft_layers_pattern"),
    "fan_in_fan_out": ("fan_in_fan_out", "lora_fan_in_fan_out"),
    "lora_bias": ("lora_bias",),
}
# Names that later releases of transformers renamed.
TRAINING_RENAMED: Final = {"eval_strategy": ("eval_strategy", "evaluation_strategy")}
