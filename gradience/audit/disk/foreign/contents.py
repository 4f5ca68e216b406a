"""What a reader of a foreign layout finds, and how a pair of factors becomes a module."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from gradience.audit import layers
from gradience.audit.disk.assembly import DTYPES
from gradience.audit.disk.module import CONV, LINEAR, Module, Product
from gradience.audit.record import AdapterInfo
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.tensors import safetensors_file
from gradience.audit.tensors.safetensors_file import Tensor

ALPHA = ".alpha"

_DAMAGED = "save it again, or fetch it again"
_LIKE_FACTOR = re.compile(r"[._]lora")
_OWN = ("weight", "bias")  # what an adapted layer has besides its factors


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter of one file, its modules in natural order. `issues` say what the factors leave out."""

    info: AdapterInfo
    modules: tuple[Module, ...]
    issues: tuple[str, ...] = ()


class Pair(msgspec.Struct, frozen=True):
    """The factors of one module: A is (r, in, ...) and B is (out, r, ...), or both are transposed."""

    a: Tensor
    b: Tensor
    transposed: bool = False

    @property
    def r(self) -> int:
        """The rank that A has."""
        return self.a.shape[1 if self.transposed else 0]

    @property
    def is_conv(self) -> bool:
        """Whether A holds the kernel of a convolution."""
        return len(self.a.shape) > 2


def check_keys(weights: Path, keys: Collection[str], refused: Iterable[tuple[str, str]]) -> None:
    """Refuse, by its name, what makes the update another one than scale * B @ A.

    Raises:
        AdapterError: a key has one of these tell-tales.
    """
    for tell_tale, what in refused:
        found = next(filter(re.compile(tell_tale).search, keys), None)
        if found is not None:
            raise refuse(weights, f"it holds {what} ({quoted(found)})", "only plain pairs of LoRA are audited")


def check_rest(weights: Path, keys: Iterable[str], pairs: Collection[str]) -> None:
    """Refuse what looks like a factor and belongs to no pair, or may change what the pair of its module means.

    Raises:
        AdapterError: a key does.
    """
    found = next((key for key in keys if _LIKE_FACTOR.search(key) or _is_strange(key, pairs)), None)
    if found is not None:
        wrong = f"it holds {quoted(found)}, which is no factor of a module that is known"
        raise refuse(weights, wrong, "only plain pairs of LoRA are audited")


def pairs(
    weights: Path, tensors: Mapping[str, Tensor], factor: "re.Pattern[str]", *, transposed: bool = False
) -> dict[str, Pair]:
    """The pairs by module; `factor` has the groups `module` and `side`: A, a or down, and B, b or up.

    Raises:
        AdapterError: there are none, or one is not whole or does not fit.
    """
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if match := factor.fullmatch(key):
            sides.setdefault(match["module"], {})["a" if match["side"] in ("A", "a", "down") else "b"] = tensor
    if lonely := [name for name, side in sides.items() if len(side) < 2]:
        raise refuse(weights, f"a factor is missing in {len(lonely)} modules ({listed(lonely)})", _DAMAGED)
    found = {name: Pair(side["a"], side["b"], transposed) for name, side in sides.items()}
    for name, pair in found.items():
        _check(weights, name, pair)
    return found


def module(name: str, pair: Pair, *, alpha: float, scale: float | None = None) -> Module:
    """The module of a pair; `scale` is alpha / r unless the tool has another rule."""
    return Module(
        name=name,
        kind=CONV if pair.is_conv else LINEAR,
        r=pair.r,
        alpha=alpha,
        scale=alpha / pair.r if scale is None else scale,
        products=(Product(a=pair.a, b=pair.b, transposed=pair.transposed),),
    )


def alphas(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The alpha of each module that has one."""
    return {
        key.removesuffix(ALPHA): safetensors_file.scalar(tensor)
        for key, tensor in tensors.items()
        if key.endswith(ALPHA)
    }


def info(
    layout: str,
    files: tuple[Path, Path],
    modules: Sequence[Module],
    *,
    base_model: str | None = None,
    step: int | None = None,
) -> AdapterInfo:
    """What there is to say of an adapter without PEFT's config; `files` say what the factors mean, and are they."""
    largest = max(modules, key=lambda one: one.r)
    return AdapterInfo(
        layout=layout,
        peft_dir=str(files[1]),
        adapter_config_path=str(files[0]),
        adapter_weights_path=str(files[1]),
        base_model=base_model,
        r=largest.r,
        lora_alpha=largest.alpha,
        target_modules=tuple(sorted({layers.target(one.name) for one in modules})),
        dtype=",".join(sorted({tensor.dtype for one in modules for tensor in one.tensors})),
        step=step,
    )


def _is_strange(key: str, pairs: Collection[str]) -> bool:
    module, _, own = key.rpartition(".")
    return module in pairs and own not in _OWN


def _check(weights: Path, name: str, pair: Pair) -> None:
    a, b = pair.a.shape, pair.b.shape
    shapes = f"{quoted(name)} has factors of the shapes {list(a)[:6]} and {list(b)[:6]}, which do not fit"
    if len(a) < 2 or len(a) != len(b) or 0 in (*a, *b) or (pair.transposed and pair.is_conv):
        raise refuse(weights, shapes, _DAMAGED)
    if pair.r != b[0 if pair.transposed else 1] or any(length != 1 for length in b[2:]):
        raise refuse(weights, shapes, _DAMAGED)
    for tensor in (pair.a, pair.b):
        if tensor.dtype not in DTYPES:
            mend = "save the adapter in float32, float16 or bfloat16"
            raise refuse(weights, f"{quoted(tensor.key)} has the dtype {quoted(tensor.dtype)}", mend)
