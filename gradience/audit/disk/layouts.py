"""What directories without a PEFT adapter hold instead, known by their files: the refusal that names it."""

from pathlib import Path

from gradience.audit.refusal import refuse
from gradience.errors import AdapterError

_LAYOUTS = (  # files that other tools leave, what they are, the mend
    (
        "adapters.npz",
        "it is an adapter of an early mlx-lm",
        "convert it to adapters.safetensors",
    ),
    (
        "adapter_[0-9]*.pt",
        "it is a torchtune adapter in torchtune's own layout",
        "set `save_adapter_weights_only` and the PEFT output of its checkpointer, and audit that",
    ),
    (
        "pytorch_model_fsdp*",
        "it is an FSDP checkpoint",
        "gather it and save the adapter with `save_pretrained`",
    ),
    (
        "global_step*",
        "it is a DeepSpeed checkpoint",
        "gather it (`zero_to_fp32.py`) and save the adapter with `save_pretrained`",
    ),
    (
        "adapter_model-*-of-*",
        "the adapter is sharded, and PEFT never writes one in shards",
        "save it again with `save_pretrained`",
    ),
    (
        "adapter_model.*.index.json",
        "the adapter is sharded, and PEFT never writes one in shards",
        "save it again with `save_pretrained`",
    ),
)
_MODEL = ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin")


def foreign(folder: Path) -> AdapterError | None:
    """The refusal of another tool's layout, if `folder` has one."""
    for pattern, wrong, mend in _LAYOUTS:
        if file := next(iter(sorted(folder.glob(pattern))), None):
            return refuse(file, wrong, mend)
    return None


def is_model(folder: Path) -> bool:
    """Whether `folder` holds a whole model."""
    return any(True for pattern in _MODEL for _ in folder.glob(pattern))
