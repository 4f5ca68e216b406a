"""LoRA on a bare parameter: which part of its pair is which expert's.

The experts of a 3-D parameter share one pair: A's rows lie expert after expert, B's columns rank after rank. Taken as
one matrix, B @ A of such a pair means nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.module import EXPERT, PARAMETER, Module, Product
from gradience.audit.refusal import quoted, refuse
from gradience.audit.tensors.safetensors_file import Tensor

_MOST = 4096  # experts; no model has more
_RANK_MAJOR, _EXPERT_MAJOR = "rank_major", "grouped_by_expert"  # Unsloth's words for the order of B's columns


def modules(
    weights: Path, settings: LoraConfig, name: str, pair: tuple[Tensor, Tensor], *, r: int, alpha: float
) -> Iterator[Module]:
    """One module for each expert of the parameter `name`, or one for a parameter without experts.

    Raises:
        AdapterError: the shapes are not those of rank `r`, or the order of the columns is not known.
    """
    a, b = pair
    rows, columns = a.shape[0], b.shape[1]
    count = rows // r
    if rows != columns or rows % r or count > _MOST:
        wrong = (
            f"{quoted(name)} has lora_A {list(a.shape)[:6]} and lora_B {list(b.shape)[:6]}, which does not fit r={r}"
        )
        raise refuse(weights, wrong, "put the config of this training run beside it")
    expert_major = count > 1 and _is_expert_major(weights, settings)
    for expert in range(count):
        block = slice(expert * r, (expert + 1) * r)
        strided = slice(expert, None, count)
        product = Product(a=a, b=b, rows=block, columns=block if expert_major else strided)
        yield Module(
            name=f"{name}[{expert}]" if count > 1 else name,
            kind=EXPERT if count > 1 else PARAMETER,
            r=r,
            alpha=alpha,
            scale=settings.scale(r, alpha),
            products=(product if count > 1 else Product(a=a, b=b),),
        )


def is_old(settings: LoraConfig) -> bool:
    """Written by a PEFT before 0.19, for which experts' factors are those of the transposed update."""
    version = (settings.peft_version or "0.17").split(".")[:2]
    return version[0] == "0" and version[-1].isdecimal() and int(version[-1]) < 19


def _is_expert_major(weights: Path, settings: LoraConfig) -> bool:
    layout = settings.expert_layout
    if layout in (_RANK_MAJOR, _EXPERT_MAJOR):
        return layout == _EXPERT_MAJOR
    by_unsloth = isinstance(settings.auto_mapping, dict) and settings.auto_mapping.get("unsloth_fixed")
    if layout is not None or by_unsloth:
        wrong = "Unsloth wrote it, and it does not say whether the columns of lora_B lie by expert or by rank"
        mend = f'write "lora_B_layout": "{_EXPERT_MAJOR}" (before September 2026) or "{_RANK_MAJOR}" into its config'
        raise refuse(weights, wrong, mend)
    return False
