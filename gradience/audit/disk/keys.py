"""What the keys of a weights file say: pairs of LoRA factors by module, and everything that is not one.

A key that looks like part of an adapter and belongs to no pair is refused by name; full tensors beside the pairs
(modules that were trained whole, biases) are listed, and what only training needs is passed over.
"""

import enum
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import msgspec

from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.errors import AdapterError

PREFIX = "base_model.model."  # PEFT's wrapper; its pattern lookup sees the path without it

_WEIGHT = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_BARE = re.compile(r"(?P<path>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[ABE])(?:\.(?P<adapter>[^.]+))?")
_LORA_BIAS = re.compile(r".+\.lora_B(?:\.[^.]+)?\.bias")
_MAGNITUDE = re.compile(r"(?P<path>.+)\.lora_magnitude_vector(?:\.[^.]+)*")
_TRAINING_ONLY = re.compile(r"\.lora_(?:velora_embed|monteclora_sampler)(?:\.|$)|\.ranknum(?:\.[^.]+)?$")
_OWN = re.compile(r"\.(?:weight$|bias$|base_layer\.)")  # what an adapted layer has besides its factors
_BASE_COPY = ".base_layer.weight"  # PEFT saves an adapted embedding's and head's own weight beside the factors
_PLAIN = "only LoRA whose update is scale * B @ A is audited"
_AGAIN = "the file is incomplete: save the adapter again"
_SEPARATE = "audit one adapter: save it alone with `save_pretrained(..., selected_adapters=[...])`"

_REFUSED = (  # tell-tale, what it is, the mend; the first that is found anywhere in the file wins
    (r"\.lora_diag", "a KaSA adapter", _PLAIN),
    (r"\.lora_(?:router|arrow)", "a LoRA variant with a router of its own", _PLAIN),
    (r"\.lora_(?:down|up)\.|^lora_(?:unet|te)", "a kohya (sd-scripts) LoRA", "convert it to the PEFT layout first"),
    (r"\.lora_[ab](?:\.|$)", "an mlx-lm or torchtune adapter", "convert it to the PEFT layout first"),
    (
        r"\.(?:hada|lokr|oft|boft|ia3|hra|hira|vera|vblora|randlora|gralora|c3a|miss|bone|shira|fourierft|road|delora)_",
        "an adapter that is not LoRA",
        "mend its peft_type",
    ),
)


class Form(enum.Enum):
    """How PEFT stores a pair, as its keys tell."""

    WEIGHT = "lora_A.weight and lora_B.weight"
    EMBEDDING = "lora_embedding_A and lora_embedding_B"
    SVD = "lora_A, lora_B and lora_E"  # AdaLoRA


_SIDES = {Form.WEIGHT: {"A", "B"}, Form.EMBEDDING: {"A", "B"}, Form.SVD: {"A", "B", "E"}}


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """The factors of one module: A's first dimension and B's second are the rank."""

    form: Form
    a: Tensor
    b: Tensor
    e: Tensor | None = None


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """A file's keys, sorted out. `pairs` and `magnitudes` are by module path, without PEFT's prefix."""

    pairs: dict[str, Pair]
    prefixed: bool
    adapter: str | None  # the adapter's name, where the keys hold it
    magnitudes: frozenset[str]  # DoRA's
    lora_biases: tuple[str, ...]
    token_rows: tuple[str, ...]
    full: tuple[str, ...]  # tensors that were trained, or only copied, whole


class _Place(NamedTuple):
    """What one key says of a factor."""

    path: str
    form: Form
    side: str
    adapter: str | None


def sort(path: Path, tensors: Mapping[str, Tensor]) -> Keys:
    """Sort out the tensors of the weights file at `path`.

    Raises:
        AdapterError: there is no pair, a pair is broken, or something in the file makes the update another one.
    """
    factors = {key: place for key in tensors if (place := _place(key))}
    rest = [key for key in tensors if key not in factors and not is_training_only(key)]
    _check_kind(path, rest)
    if not factors:
        raise refuse(path, "it holds no lora_A and lora_B weights", "check that it is a LoRA adapter's file")
    magnitudes = {key: match["path"] for key in rest if (match := _MAGNITUDE.fullmatch(key))}
    lora_biases = tuple(key for key in rest if _LORA_BIAS.fullmatch(key))
    token_rows = tuple(key for key in rest if "trainable_tokens_delta" in key)
    known = {*lora_biases, *token_rows, *magnitudes}
    full = tuple(key for key in rest if key not in known and not key.endswith(_BASE_COPY))
    _check_full(path, full, {place.path for place in factors.values()})
    adapter, prefixed = _adapter(path, factors), _prefixed(path, factors)
    return Keys(
        pairs=_pairs(path, tensors, factors),
        prefixed=prefixed,
        adapter=adapter,
        magnitudes=frozenset(name.removeprefix(PREFIX) for name in magnitudes.values()),
        lora_biases=lora_biases,
        token_rows=token_rows,
        full=full,
    )


def is_training_only(key: str) -> bool:
    """Whether nothing but training needs the tensor of this key."""
    return _TRAINING_ONLY.search(key) is not None


def _place(key: str) -> _Place | None:
    if match := _WEIGHT.fullmatch(key):
        return _Place(match["path"].removeprefix(PREFIX), Form.WEIGHT, match["side"], match["adapter"])
    match = _BARE.fullmatch(key)
    if match is None or _LORA_BIAS.fullmatch(key):
        return None
    form = Form.EMBEDDING if match["embedding"] else Form.SVD
    return _Place(match["path"].removeprefix(PREFIX), form, match["side"], match["adapter"])


def _check_kind(path: Path, keys: Sequence[str]) -> None:
    for tell_tale, what, mend in _REFUSED:
        found = next(filter(re.compile(tell_tale).search, keys), None)
        if found is not None:
            raise refuse(path, f"it holds {what} ({quoted(found)})", mend)


def _check_full(path: Path, full: tuple[str, ...], adapted: Set[str]) -> None:
    unknown = next((key for key in full if "lora_" in key or _is_strange(key.removeprefix(PREFIX), adapted)), None)
    if unknown is not None:
        raise refuse(path, f"it holds {quoted(unknown)}, which LoRA does not have", _PLAIN)


def _is_strange(key: str, adapted: Set[str]) -> bool:
    """Whether it belongs to an adapted module and is neither its weight, nor its bias, nor of the layer inside."""
    places = [place for place, char in enumerate(key) if char == "."]
    return any(key[:place] in adapted and not _OWN.match(key, place) for place in places)


def _adapter(path: Path, factors: Mapping[str, _Place]) -> str | None:
    names = sorted({place.adapter or "" for place in factors.values()})
    if len(names) > 1:
        raise refuse(path, f"its keys hold {len(names)} adapters ({', '.join(map(quoted, names[:4]))})", _SEPARATE)
    return names[0] or None


def _prefixed(path: Path, factors: Mapping[str, _Place]) -> bool:
    bare = [key for key in factors if not key.startswith(PREFIX)]
    if bare and len(bare) < len(factors):
        raise refuse(
            path, f"only some of its keys start with {PREFIX!r} (not {listed(bare)})", "save the adapter again"
        )
    return not bare


def _pairs(path: Path, tensors: Mapping[str, Tensor], factors: Mapping[str, _Place]) -> dict[str, Pair]:
    found: dict[str, dict[Form, dict[str, Tensor]]] = {}
    for key, place in factors.items():
        found.setdefault(place.path, {}).setdefault(place.form, {})[place.side] = tensors[key]
    if mixed := [name for name, forms in found.items() if len(forms) > 1]:
        raise refuse(path, f"factors of two forms belong to the same module ({listed(mixed)})", _AGAIN)
    sides = {name: next(iter(forms.items())) for name, forms in found.items()}
    if lonely := sorted(name for name, (form, side) in sides.items() if side.keys() != _SIDES[form]):
        raise _lonely(path, lonely, sides[lonely[0]], len(sides))
    return {name: Pair(form=form, a=s["A"], b=s["B"], e=s.get("E")) for name, (form, s) in sides.items()}


def _lonely(path: Path, names: list[str], first: tuple[Form, Mapping[str, Tensor]], total: int) -> AdapterError:
    form, there = first
    stem = "lora_embedding_" if form is Form.EMBEDDING else "lora_"
    has, lacks = (
        " and ".join(f"{stem}{side}" for side in sorted(part)) for part in (there, _SIDES[form] - there.keys())
    )
    wrong = f"{has} without {lacks} in {len(names)} of {total} modules ({listed(names)})"
    return refuse(path, wrong, _AGAIN)
