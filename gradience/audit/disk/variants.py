"""What a config says that the adapter is, where that is not plain LoRA: named, with what to do about it.

The default for the unknown is refusal: a switch of a newer PEFT may change what the factors mean.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradience.audit.refusal import quoted, refuse

LORA, ADALORA = "LORA", "ADALORA"

# PEFT can turn these into plain LoRA because they add a matrix to the base weight.
_CONVERTIBLE = frozenset(
    {"LOHA", "LOKR", "MISS", "C3A", "FOURIERFT", "VERA", "RANDLORA", "VBLORA", "GRALORA", "WAVEFT", "TINYLORA"}
    | {"UNILORA", "PSOFT", "DELORA"}
)
_CONVERT = "convert it with `peft.save_as_lora` and audit the result"
_PLAIN = "only LoRA whose update is scale * B @ A is audited"
_REFUSED = (
    ("kasa_config", "a KaSA adapter: it also cuts into the base weight", _PLAIN),
    ("use_bdlora", "a BD-LoRA adapter: its factors are packed blocks", _PLAIN),
    ("use_qalora", "a QA-LoRA adapter: its A acts on pooled inputs", _PLAIN),
    ("alora_invocation_tokens", "an activated LoRA: it acts only after its tokens", _PLAIN),
    ("arrow_config", "an Arrow router over several adapters", "audit each of the adapters that it routes to"),
    ("megatron_config", "an adapter of Megatron's parallel layers", _PLAIN),
)
_LORA_ONLY = ("use_dora", "target_parameters", "layer_replication", "velora_config", "monteclora_config")
_KNOWN_SWITCHES = frozenset(
    {"use_rslora", "use_dora", "eva_config", "corda_config", "loftq_config", "lora_ga_config", "runtime_config"}
    | {"velora_config", "monteclora_config"}
)
_NOTHING: tuple[object, ...] = (None, False, [], {})


def check(path: Path, fields: Mapping[str, Any]) -> None:
    """Nothing, for an adapter whose update is known from its factors.

    Raises:
        AdapterError: the config at `path` describes any other.
    """
    kind = fields["peft_type"]
    if kind not in (LORA, ADALORA):
        mend = _CONVERT if str(kind) in _CONVERTIBLE else "only LORA and ADALORA are audited"
        raise refuse(path, f"its peft_type is {quoted(kind)}, whose update is not scale * B @ A", mend)
    for field, wrong, mend in _REFUSED:
        if fields.get(field) not in _NOTHING:
            raise refuse(path, f"{field} is set: it is {wrong}", mend)
    for field in _LORA_ONLY if kind == ADALORA else ():
        if fields.get(field) not in _NOTHING:
            raise refuse(path, f"{field} is set, which AdaLoRA does not have", "mend the config")
    for field, value in fields.items():
        if _is_switch(field) and value not in _NOTHING:
            raise refuse(path, f"{quoted(field)} is set, and what it does to the factors is not known", _PLAIN)


def _is_switch(field: str) -> bool:
    return (field.startswith("use_") or field.endswith("_config")) and field not in _KNOWN_SWITCHES
