"""The one file of kohya's sd-scripts: alpha entries and the notes on the network follow the rank."""

from collections.abc import Mapping
from typing import Final

from gradience.audit.compression import drafting
from gradience.audit.compression.drafting import FORMAT, Draft
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.foreign.contents import ALPHA
from gradience.audit.tensors import safetensors_file

NAME: Final = "kohya"


def draft(found: Adapter, ranks: Mapping[str, int]) -> Draft:
    """The adapter with its modules at these ranks."""
    slots = drafting.singles(found.modules, ranks)
    tensors = safetensors_file.header(found.files.weights)
    alphas = {f"{_stem(slot.key_a)}{ALPHA}": float(slot.rank) for slot in slots}
    largest = str(max(slot.rank for slot in slots))
    said = safetensors_file.metadata(found.files.weights)
    follows: dict[str, str] = {key: largest for key in ("ss_network_dim", "ss_network_alpha") if key in said}
    return Draft(
        weights=found.files.weights.name,
        slots=slots,
        kept=drafting.rest(tensors, slots, ending=ALPHA),
        alphas=alphas,
        metadata={**FORMAT, **said, **follows},
        has_companions=False,  # the folder is one of many such files
    )


def _stem(key: str) -> str:
    """The module of a factor, as kohya writes it."""
    return key.rpartition(".lora_")[0]
