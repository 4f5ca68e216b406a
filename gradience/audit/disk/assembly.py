"""Modules from the pairs of a PEFT file and its config: each form of pair by the formula that PEFT has for it."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from gradience.audit.disk import experts
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.keys import Form, Pair
from gradience.audit.disk.module import ATTENTION, CONV, EMBEDDING, LINEAR, Module, Product, natural
from gradience.audit.disk.patterns import Values
from gradience.audit.disk.targets import Targets
from gradience.audit.refusal import listed, quoted, refuse

DTYPES = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})  # those of factors
_GATHER = "gather the parameters (DeepSpeed ZeRO-3, FSDP) and save the adapter again"
_OTHER_RUN = "put the config of this training run beside it"
_MOST_EXPERTS = (
    1 << 16
)  # in all layers, more than any model has; each costs a row of the audit, and a hostile file may hold very many
_WRAPPED = ".base_layer"
_OUT_PROJ = ".base_layer.out_proj"  # MultiheadAttention is wrapped as a whole, and its output projection inside it


class Assembled(msgspec.Struct, frozen=True, kw_only=True):
    """The modules in natural order of their names, and how ranks and alphas were looked up."""

    modules: tuple[Module, ...]
    pruned: tuple[str, ...]  # modules of rank 0, which AdaLoRA left nothing of
    ranks: Values
    alphas: Values


def assemble(files: tuple[Path, Path], settings: LoraConfig, pairs: Mapping[str, Pair]) -> Assembled:
    """The modules of the config and the weights in `files`.

    Raises:
        AdapterError: a pair does not fit the config, or its update is not known.
    """
    config, weights = files
    wrapped = _wrapped(pairs)
    targets = Targets(config, settings, wrapped)
    parameters = {path: targets.parameters(path, len(wrappers)) for path, wrappers in wrapped.items()}
    names = [name for path, found in parameters.items() for name in found or [_named(path)[1]]]
    ranks = Values(config, "rank_pattern", settings.ranks, settings.r, names=names)
    alphas = Values(config, "alpha_pattern", settings.alphas, settings.lora_alpha, names=names)
    bench = _Assembly(weights, settings, pairs, ranks, alphas)
    modules = sorted(bench.modules(parameters), key=lambda module: natural(module.name))
    if not modules:
        raise refuse(weights, "AdaLoRA pruned every module to rank 0", "there is nothing to audit")
    return Assembled(
        modules=tuple(_tied(modules) if settings.ensure_weight_tying else modules),
        pruned=tuple(bench.pruned),
        ranks=ranks,
        alphas=alphas,
    )


class _Assembly:
    """One file's pairs on their way to modules."""

    def __init__(
        self, weights: Path, settings: LoraConfig, pairs: Mapping[str, Pair], ranks: Values, alphas: Values
    ) -> None:
        self._weights, self._settings, self._pairs = weights, settings, pairs
        self._ranks, self._alphas = ranks, alphas
        self.pruned: list[str] = []
        self._experts = 0

    def modules(self, parameters: Mapping[str, list[str]]) -> Iterator[Module]:
        """Every module, in the order of the file; `parameters` are those of each that are adapted one by one."""
        self._check_form()
        for name, wrappers in _wrapped(self._pairs).items():
            self._check_dtypes(wrappers)
            if parameters[name]:
                yield from self._parameters(parameters[name], wrappers)
            elif len(wrappers) > 1 or 0 not in wrappers:
                wrong = f"{quoted(name)} has stacked factors of bare (expert) parameters that its config does not name"
                raise refuse(self._weights, wrong, _OTHER_RUN)
            else:
                yield from self._module(name, wrappers[0])

    def _check_form(self) -> None:
        svd = [name for name, pair in self._pairs.items() if pair.form is Form.SVD]
        if svd and not self._settings.is_adalora:
            wrong = f"it holds an AdaLoRA adapter (lora_E in {listed(svd)}), but its config says LORA"
            raise refuse(self._weights, wrong, _OTHER_RUN)
        if self._settings.is_adalora and len(svd) < len(self._pairs):
            wrong = "its config says ADALORA, but not every pair has a lora_E"
            raise refuse(self._weights, wrong, _OTHER_RUN)

    def _check_dtypes(self, wrappers: Mapping[int, Pair]) -> None:
        for tensor in (t for pair in wrappers.values() for t in (pair.a, pair.b, pair.e) if t is not None):
            if tensor.dtype not in DTYPES:
                mend = "save it again with `save_pretrained`, in float32, float16 or bfloat16"
                raise refuse(self._weights, f"{quoted(tensor.key)} has the dtype {quoted(tensor.dtype)}", mend)

    def _parameters(self, names: list[str], wrappers: Mapping[int, Pair]) -> Iterator[Module]:
        found = dict(zip(names, (wrappers[depth] for depth in sorted(wrappers)), strict=True))
        for name, pair in found.items():
            a, b = pair.a.shape, pair.b.shape
            if pair.form is not Form.WEIGHT or len(a) != 2 or len(b) != 2 or 0 in (*a, *b):
                raise refuse(self._weights, f"{_shapes(name, pair)}: the factors were saved in pieces", _GATHER)
        self._check_order(found)
        for name, pair in found.items():
            r, alpha = self._ranks.of(name), float(self._alphas.of(name))
            for module in experts.modules(self._weights, self._settings, name, (pair.a, pair.b), r=r, alpha=alpha):
                self._experts += 1
                if self._experts > _MOST_EXPERTS:
                    wrong = f"its shapes are those of more than {_MOST_EXPERTS} experts, which no model has"
                    raise refuse(self._weights, wrong, _OTHER_RUN)
                yield module

    def _check_order(self, found: Mapping[str, Pair]) -> None:
        """A model that declares its parameters in another order than all we know would have them swapped here."""
        by_leaf = {name.rpartition(".")[2]: pair for name, pair in found.items()}
        up, down = by_leaf.get("gate_up_proj"), by_leaf.get("down_proj")
        if up is None or down is None:
            return
        (out_up, in_up), (out_down, in_down) = ((pair.b.shape[0], pair.a.shape[1]) for pair in (up, down))
        if (out_up, in_up) != (2 * in_down, out_down) and (in_up, out_up) != (2 * out_down, in_down):
            wrong = f"{listed(list(found))} have shapes that do not belong together, so which is which is not known"
            raise refuse(self._weights, wrong, "train each parameter in an adapter of its own to have it audited")

    def _module(self, path: str, pair: Pair) -> Iterator[Module]:
        name, owner = _named(path)
        if pair.e is not None and self._is_pruned(pair):
            self.pruned.append(name)
            return
        r = pair.a.shape[0] if pair.a.shape and self._settings.is_adalora else self._ranks.of(owner)
        alpha = float(self._alphas.of(owner))
        self._check_shapes(name, pair, r)
        self._check_left(name, r)
        yield Module(
            name=name,
            kind=self._kind(path, pair),
            r=r,
            alpha=alpha,
            scale=self._settings.scale(r, alpha),
            products=(Product(a=pair.a, b=pair.b, diagonal=pair.e),),
        )

    def _is_pruned(self, pair: Pair) -> bool:
        return pair.a.shape[:1] == (0,) and pair.b.shape[1:] == (0,)

    def _check_shapes(self, name: str, pair: Pair, r: int) -> None:
        a, b = pair.a.shape, pair.b.shape
        if len(a) < 2 or len(b) < 2 or 0 in (*a, *b):
            raise refuse(self._weights, f"{_shapes(name, pair)}: the factors were saved in pieces", _GATHER)
        rank = math.prod(b[1:])
        if len(a) > 2 and a[0] == r and rank < r and r % rank == 0:
            wrong = f"{_shapes(name, pair)}: it is LoRA on a grouped convolution, whose update is no product of the two"
            raise refuse(self._weights, wrong, "leave such layers out of target_modules to have the others audited")
        if (a[0], rank) != (r, r) or b[1] != r or len(a) != len(b):
            raise refuse(self._weights, f"{_shapes(name, pair)}, but the config gives it r={r}", _OTHER_RUN)
        if pair.e is not None and pair.e.shape != (r, 1):
            raise refuse(self._weights, f"{_shapes(name, pair)}, but lora_E {list(pair.e.shape)[:6]}", _OTHER_RUN)

    def _check_left(self, name: str, r: int) -> None:
        """AdaLoRA's config says which directions of each module it left."""
        left = (self._settings.rank_pattern or {}).get(f"{name}.lora_E") if self._settings.is_adalora else None
        if isinstance(left, list) and sum(left) != r:
            wrong = f"{quoted(name)} has rank {r}, but the config's rank_pattern leaves {sum(left)}"
            raise refuse(self._weights, wrong, _OTHER_RUN)

    def _kind(self, path: str, pair: Pair) -> str:
        if pair.form is Form.EMBEDDING:
            return EMBEDDING
        if path.endswith(_OUT_PROJ) or f"{path}{_OUT_PROJ}" in self._pairs:
            return ATTENTION
        return CONV if len(pair.a.shape) > 2 else LINEAR


def _wrapped(pairs: Mapping[str, Pair]) -> dict[str, dict[int, Pair]]:
    """The pairs of each module by how many wrappers lie around them."""
    found: dict[str, dict[int, Pair]] = {}
    for path, pair in pairs.items():
        name = path
        while name.endswith(_WRAPPED):
            name = name.removesuffix(_WRAPPED)
        found.setdefault(name, {})[(len(path) - len(name)) // len(_WRAPPED)] = pair
    return found


def _named(path: str) -> tuple[str, str]:
    """A module's name in the base model, and the name by which PEFT looks up its rank and alpha."""
    if path.endswith(_OUT_PROJ):
        owner = path.removesuffix(_OUT_PROJ)
        return f"{owner}.out_proj", owner
    return path, path


def _tied(modules: list[Module]) -> Iterator[Module]:
    """The same, a head that repeats an embedding's factors transposed marked as its copy."""
    mirrored = {(m.r, m.out_features, m.in_features) for m in modules if m.kind == EMBEDDING}
    for module in modules:
        is_copy = module.kind == LINEAR and (module.r, module.in_features, module.out_features) in mirrored
        yield msgspec.structs.replace(module, is_copy=True) if is_copy else module


def _shapes(name: str, pair: Pair) -> str:
    return f"{quoted(name)} has lora_A {list(pair.a.shape)[:6]} and lora_B {list(pair.b.shape)[:6]}"
