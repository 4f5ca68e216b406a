"""What is on disk: the modules of an adapter with the places of their factors, their exact ranks and scales.

Nothing here imports torch. What is returned is plain LoRA on linear layers, whose update is
scale * B @ A; everything else was refused by name.
"""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from gradience.audit import config, folder, keys, safetensors_file, torch_file
from gradience.audit.config import LoraConfig
from gradience.audit.folder import Files
from gradience.audit.keys import Keys, Pair
from gradience.audit.module import EMBEDDING, LINEAR, Module, Product
from gradience.audit.patterns import Lookup
from gradience.audit.record import AdapterInfo
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.safetensors_file import Tensor

_FACTOR_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_GATHER = "gather the parameters (DeepSpeed ZeRO-3, FSDP) and save the adapter again"


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter that can be audited, its modules in natural order of their paths.

    `issues` say, each after its code, what the factors leave out.
    """

    files: Files
    info: AdapterInfo
    modules: tuple[Module, ...]
    issues: tuple[str, ...] = ()


def load(path: str | PathLike[str]) -> Adapter:
    """Read the config and the header of the adapter in the directory `path`; no factor is read yet.

    Raises:
        AdapterError: there is no adapter, or scale * B @ A is not known to be its whole update.
    """
    files = folder.find(path)
    settings = config.read(files.config)
    found = keys.sort(files.weights, _tensors(files.weights))
    ranks = _Values(files.config, "rank_pattern", settings.rank_pattern or {}, settings.r)
    alphas = _Values(files.config, "alpha_pattern", settings.alpha_pattern or {}, settings.lora_alpha)
    modules = tuple(
        _module(files, settings, name, pair, r=ranks.of(name), alpha=float(alphas.of(name)))
        for name, pair in sorted(found.pairs.items(), key=lambda item: _natural(item[0]))
    )
    issues = (*_left_out(files, settings, found), *ranks.issues(), *alphas.issues(), *_zero_scale(modules))
    return Adapter(files=files, info=_info(files, settings, modules), modules=modules, issues=issues)


class _Values:
    """One pattern dictionary at work: the value of each module, and what is odd about the keys."""

    def __init__(self, path: Path, field: str, values: Mapping[str, Any], default: float) -> None:
        self._field, self._values, self._default = field, values, default
        self._unmatched = dict.fromkeys(values)
        self._overlaps: list[str] = []
        try:
            self._lookup = Lookup(values)
        except re.error as error:
            wrong = f"{field} has the key {quoted(error.pattern)}, which is no regular expression"
            raise refuse(path, wrong, "mend the config; PEFT cannot load it") from error

    def of(self, name: str) -> Any:
        """The module's value: that of the first key in the file that matches it, as PEFT looks it up on loading."""
        matches = self._lookup.matches(name)
        for key in matches:
            self._unmatched.pop(key, None)
        if len({self._values[key] for key in matches}) > 1:
            self._overlaps.append(name)
        return self._values[matches[0]] if matches else self._default

    def issues(self) -> list[str]:
        """Keys whose order decides, and keys that decide nothing."""
        found = []
        if self._overlaps:
            found.append(
                f"pattern_overlap: several keys of {self._field} match modules ({listed(self._overlaps)}); the first in"
                " the file wins on loading, which may differ from training"
            )
        if self._unmatched:
            found.append(f"pattern_unmatched: keys of {self._field} match no module ({listed(list(self._unmatched))})")
        return found


def _natural(name: str) -> list[str | tuple[int, str]]:
    """Sorts layer 2 before layer 10, which the order of keys in a file does not."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part), part) if place % 2 else part for place, part in enumerate(parts)]


def _tensors(weights: Path) -> dict[str, Tensor]:
    if weights.suffix == ".safetensors":
        return safetensors_file.header(weights)
    return torch_file.header(weights)


def _module(files: Files, settings: LoraConfig, name: str, pair: Pair, *, r: int, alpha: float) -> Module:
    _check_shapes(files.weights, name, pair, r)
    return Module(
        name=name,
        kind=EMBEDDING if pair.is_embedding else LINEAR,
        r=r,
        alpha=alpha,
        scale=settings.scale(r, alpha),
        products=(Product(a=pair.a, b=pair.b),),
    )


def _check_shapes(weights: Path, name: str, pair: Pair, r: int) -> None:
    a, b = pair.a.shape, pair.b.shape
    shapes = f"{quoted(name)} has lora_A {list(a)[:6]} and lora_B {list(b)[:6]}"
    if len(a) < 2 or len(b) < 2 or 0 in (*a, *b):
        raise refuse(weights, f"{shapes}: the factors were saved in pieces", _GATHER)
    if len(a) > 2 or len(b) > 2:
        raise refuse(weights, f"{shapes}: it is LoRA on a convolution", "only linear layers are audited")
    if (a[0], b[1]) != (r, r):
        raise refuse(
            weights, f"{shapes}, but the config gives it r={r}", "put the config of this training run beside it"
        )
    for tensor in (pair.a, pair.b):
        if tensor.dtype not in _FACTOR_DTYPES:
            mend = "save the adapter in float32, float16 or bfloat16"
            raise refuse(weights, f"{quoted(tensor.key)} has the dtype {quoted(tensor.dtype)}", mend)


def _left_out(files: Files, settings: LoraConfig, found: Keys) -> list[str]:
    """What the file or the config holds beside the factors."""
    notes = {
        "no_prefix": not found.prefixed and f"the keys lack {keys.PREFIX!r}: PEFT would load an untrained adapter",
        "adapter_name": found.adapter
        and f"the keys hold the adapter's name {quoted(found.adapter)}: older PEFT would load an untrained adapter",
        "modules_to_save": found.full and f"tensors stored whole are not audited ({listed(found.full)})",
        "bias": settings.bias not in (None, "none")
        and f"trained biases (bias={quoted(settings.bias)}) are not audited",
        "lora_bias": found.lora_biases and f"biases of lora_B are not audited ({listed(found.lora_biases)})",
        "trainable_tokens": found.token_rows and f"trained token rows are not audited ({listed(found.token_rows)})",
        "random_start": settings.init_lora_weights is False
        and "init_lora_weights is false: B @ A was not zero at the start, so it is more than what was learned",
        "linked": files.linked and f"files that are links to elsewhere were followed ({listed(files.linked)})",
        "other_adapters": files.others and f"adapters in sub-directories were not read ({listed(files.others)})",
    }
    return [f"{code}: {note}" for code, note in notes.items() if note]


def _zero_scale(modules: tuple[Module, ...]) -> list[str]:
    zero = [module.name for module in modules if not module.scale]
    return [f"zero_scale: alpha is 0 in modules, whose update is zero ({listed(zero)})"] if zero else []


def _info(files: Files, settings: LoraConfig, modules: tuple[Module, ...]) -> AdapterInfo:
    targets = settings.target_modules or ()
    return AdapterInfo(
        peft_dir=files.given,
        adapter_config_path=str(files.config),
        adapter_weights_path=str(files.weights),
        base_model=settings.base_model_name_or_path,
        r=settings.r,
        lora_alpha=settings.lora_alpha,
        use_rslora=bool(settings.use_rslora),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        init_lora_weights=True if settings.init_lora_weights is None else settings.init_lora_weights,
        dtype=",".join(sorted({tensor.dtype for module in modules for tensor in module.tensors})),
        step=files.step,
    )
