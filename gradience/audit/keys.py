"""What the keys of a weights file say: pairs of LoRA factors by module, and everything that is not one.

A key that looks like part of an adapter and is not a plain pair is refused by name; full tensors beside the pairs
(modules that were trained whole, biases) are listed.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.safetensors_file import Tensor
from gradience.errors import AdapterError

PREFIX = "base_model.model."  # PEFT's wrapper; its pattern lookup sees the path without it

_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?:(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight"
    r"|embedding_(?P<embedding_side>[AB])(?:\.(?P<embedding_adapter>[^.]+))?)"
)
_LORA_BIAS = re.compile(r".+\.lora_B(?:\.[^.]+)?\.bias")
_BASE_COPY = ".base_layer.weight"  # PEFT saves an adapted embedding's and head's own weight beside the factors
_SEPARATE = "audit one adapter: save it alone with `save_pretrained(..., selected_adapters=[...])`"

_REFUSED = (  # tell-tale, what it is, the mend; the first that is found anywhere in the file wins
    (r"\.lora_magnitude_vector", "magnitudes of DoRA", "B @ A is only the direction of its update"),
    (r"\.lora_E(?:\.|$)", "an AdaLoRA adapter", "only plain LoRA is audited"),
    (r"\.lora_diag", "a KaSA adapter", "only plain LoRA is audited"),
    (
        r"\.lora_(?:velora|monteclora|router|arrow)",
        "a LoRA variant with state of its own",
        "only plain LoRA is audited",
    ),
    (r"\.lora_(?:down|up)\.|^lora_(?:unet|te)", "a kohya (sd-scripts) LoRA", "convert it to the PEFT layout first"),
    (r"\.lora_[ab](?:\.|$)", "an mlx-lm or torchtune adapter", "convert it to the PEFT layout first"),
    (
        r"\.(?:hada_|lokr_|oft_|boft_|ia3_|hra_|vera_|vblora_|randlora_|gralora_|c3a_|miss_|shira_|fourierft_)",
        "an adapter that is not LoRA",
        "mend its peft_type",
    ),
)


_STACKED = (  # the same for keys that have the form of a pair
    (r"\.base_layer\.out_proj\.lora_", "LoRA on MultiheadAttention (in_proj)", "only linear layers are audited"),
    (r"\.(?:experts|base_layer)\.lora_", "stacked factors of expert parameters", "only linear layers are audited"),
)


class Pair(msgspec.Struct, frozen=True):
    """The factors of one module: A is (r, in), B is (out, r)."""

    a: Tensor
    b: Tensor
    is_embedding: bool = False


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """A file's keys, sorted out. `pairs` is by module path in the base model."""

    pairs: dict[str, Pair]
    prefixed: bool
    adapter: str | None  # the adapter's name, where the keys hold it
    lora_biases: tuple[str, ...]
    token_rows: tuple[str, ...]
    full: tuple[str, ...]  # tensors that were trained, or only copied, whole


def sort(path: Path, tensors: Mapping[str, Tensor]) -> Keys:
    """Sort out the tensors of the weights file at `path`.

    Raises:
        AdapterError: there is no plain pair, a pair is broken, or something in the file is not plain LoRA.
    """
    factors = {key: match for key in tensors if (match := _FACTOR.fullmatch(key))}
    rest = [key for key in tensors if key not in factors]
    _check_kind(path, rest, _REFUSED)
    _check_kind(path, factors, _STACKED)
    if not factors:
        raise refuse(path, "it holds no lora_A and lora_B weights", "check that it is a LoRA adapter's file")
    lora_biases = tuple(key for key in rest if _LORA_BIAS.fullmatch(key))
    token_rows = tuple(key for key in rest if "trainable_tokens_delta" in key)
    known = {*lora_biases, *token_rows}
    full = tuple(key for key in rest if key not in known and not key.endswith(_BASE_COPY))
    _check_full(path, full)
    adapter, prefixed = _adapter(path, factors), _prefixed(path, factors)
    return Keys(
        pairs=_pairs(path, tensors, factors),
        prefixed=prefixed,
        adapter=adapter,
        lora_biases=lora_biases,
        token_rows=token_rows,
        full=full,
    )


def _check_kind(path: Path, keys: Collection[str], table: Sequence[tuple[str, str, str]]) -> None:
    for tell_tale, what, mend in table:
        found = next(filter(re.compile(tell_tale).search, keys), None)
        if found is not None:
            raise refuse(path, f"it holds {what} ({quoted(found)})", mend)


def _check_full(path: Path, full: tuple[str, ...]) -> None:
    unknown = next((key for key in full if "lora_" in key), None)
    if unknown is not None:
        raise refuse(path, f"it holds {quoted(unknown)}, which plain LoRA does not have", "only plain LoRA is audited")


def _adapter(path: Path, factors: Mapping[str, "re.Match[str]"]) -> str | None:
    names = sorted({match["adapter"] or match["embedding_adapter"] or "" for match in factors.values()})
    if len(names) > 1:
        raise refuse(path, f"its keys hold {len(names)} adapters ({', '.join(map(quoted, names[:4]))})", _SEPARATE)
    return names[0] or None


def _prefixed(path: Path, factors: Mapping[str, "re.Match[str]"]) -> bool:
    bare = [key for key in factors if not key.startswith(PREFIX)]
    if bare and len(bare) < len(factors):
        raise refuse(
            path, f"only some of its keys start with {PREFIX!r} (not {listed(bare)})", "save the adapter again"
        )
    return not bare


def _pairs(path: Path, tensors: Mapping[str, Tensor], factors: Mapping[str, "re.Match[str]"]) -> dict[str, Pair]:
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for key, match in factors.items():
        sides[match["side"] or match["embedding_side"]][match["module"].removeprefix(PREFIX)] = tensors[key]
    if lonely := sorted(sides["A"].keys() ^ sides["B"].keys()):
        raise _lonely(path, lonely, sides)
    embeddings = {match["module"].removeprefix(PREFIX) for match in factors.values() if match["embedding_side"]}
    return {name: Pair(a, sides["B"][name], name in embeddings) for name, a in sides["A"].items()}


def _lonely(path: Path, names: list[str], sides: dict[str, dict[str, Tensor]]) -> AdapterError:
    there, missing = ("lora_A", "lora_B") if names[0] in sides["A"] else ("lora_B", "lora_A")
    wrong = f"{there} without {missing} in {len(names)} of {len(sides['A'].keys() | sides['B'].keys())} modules"
    return refuse(path, f"{wrong} ({listed(names)})", "the file is incomplete: save the adapter again")
