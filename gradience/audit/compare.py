"""Two adapters, module by module: how alike their updates are in direction, size and leading subspaces.

Both files stream: memory is that of the largest module. Weights are matched by their paths in the base model.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack, closing
from os import PathLike
from typing import NamedTuple

import msgspec
import numpy as np

from gradience.audit import alignment, blas, layers, survey
from gradience.audit.adapter import Adapter
from gradience.audit.balance import raised
from gradience.audit.bench import Bench, Wide
from gradience.audit.compared import Comparison, ModuleComparison, OtherShape, PooledComparison
from gradience.audit.module import Module
from gradience.audit.opening import opened
from gradience.audit.refusal import quoted, refuse
from gradience.audit.spectrum import Array
from gradience.errors import InputError
from gradience.references import Fetched

Place = str | PathLike[str] | Fetched


def compare(a: Place, b: Place, *, k: int | None = None) -> Comparison:
    """Compare the updates of two adapters, each a directory or a reference.

    `k` is how many leading directions of each update span the subspaces that are compared; else it is as many as hold
    95 % of the update's energy.

    Raises:
        AdapterError: one of them cannot be audited, or its numbers are broken.
        InputError: they have no weight in common, or a reference cannot be fetched.
    """
    with opened(a) as first, opened(b) as second:
        return _compared(first, second, k)


class _Pair(msgspec.Struct, frozen=True):
    a: Module
    b: Module

    @property
    def is_alike(self) -> bool:
        """Whether both are updates of one shape."""
        return _shape(self.a) == _shape(self.b)


class _Side(msgspec.Struct, frozen=True):
    """One adapter, and the bench that reads its factors."""

    adapter: Adapter
    bench: Bench


class _Stack(NamedTuple):
    """One side of both updates' factors, rows on rows; those of each are `values` * 2**`exponent`."""

    values: Array
    exponents: tuple[int, ...]


def _compared(first: Adapter, second: Adapter, k: int | None) -> Comparison:
    for adapter in (first, second):
        survey.check_ranks(adapter)
    ours, theirs = _modules(first), _modules(second)
    both = [_Pair(module, theirs[name]) for name, module in ours.items() if name in theirs]
    alike = [pair for pair in both if pair.is_alike]
    if not alike:
        raise _nothing_shared(first, second)
    found = _measured((first, second), alike, k)
    return Comparison(
        a=first.info,
        b=second.info,
        overall=_pooled(found),
        by_type=_by_type(found),
        modules=tuple(found),
        only_in_a=tuple(name for name in ours if name not in theirs),
        only_in_b=tuple(name for name in theirs if name not in ours),
        other_shapes=tuple(_other_shape(pair) for pair in both if not pair.is_alike),
        issues=(*_noted("A", first), *_noted("B", second), *_other_base(first, second)),
    )


def _modules(adapter: Adapter) -> dict[str, Module]:
    """Without those that share their factors with another one: their update is the same once more."""
    return {module.name: module for module in adapter.modules if not module.is_copy}


def _shape(module: Module) -> tuple[int, int]:
    return module.out_features, module.in_features


def _other_shape(pair: _Pair) -> OtherShape:
    return OtherShape(name=pair.a.name, shape_a=_shape(pair.a), shape_b=_shape(pair.b))


def _nothing_shared(first: Adapter, second: Adapter) -> InputError:
    examples = " against ".join(quoted(adapter.modules[0].name) for adapter in (first, second))
    return InputError(
        f"cannot compare {first.info.peft_dir} with {second.info.peft_dir}: they have no weight of one name and shape "
        f"({examples}); give adapters of one base model"
    )


def _measured(adapters: tuple[Adapter, Adapter], pairs: Sequence[_Pair], k: int | None) -> list[ModuleComparison]:
    modules = [pair.a for pair in pairs], [pair.b for pair in pairs]
    with blas.one_thread(), ExitStack() as stack:
        benches = [stack.enter_context(closing(Bench(its))) for its in modules]
        sides = [_Side(adapter, bench) for adapter, bench in zip(adapters, benches, strict=True)]
        return [_module(sides, pair, k) for pair in pairs]


def _module(sides: Sequence[_Side], pair: _Pair, k: int | None) -> ModuleComparison:
    both = list(zip(sides, (pair.a, pair.b), strict=True))
    inputs = _stacked([(side, module, side.bench.inputs(module)) for side, module in both])
    outputs = _stacked([(side, module, side.bench.outputs(module)) for side, module in both])
    exponents = [sum(one) for one in zip(inputs.exponents, outputs.exponents, strict=True)]
    highest = max(exponents)
    first, second = (
        core.times(raised(module.scale, exponent - highest))
        for core, module, exponent in zip(
            alignment.cores(inputs.values, outputs.values, pair.a.r), (pair.a, pair.b), exponents, strict=True
        )
    )
    norms = [raised(core.norm, highest) for core in (first, second)]
    distance = raised(alignment.distance(first, second), highest)
    shared = alignment.subspaces(first, second, k)
    return ModuleComparison(
        name=pair.a.name,
        module_type=layers.module_type(pair.a.name),
        layer=layers.layer_index(pair.a.name),
        r_a=pair.a.r,
        r_b=pair.b.r,
        norm_a=norms[0],
        norm_b=norms[1],
        cosine=alignment.cosine(first, second),
        distance=distance,
        distance_floor=raised(first.floor + second.floor, highest),
        relative_distance=distance / norms[0] if norms[0] else None,
        k_a=shared.ks[0],
        k_b=shared.ks[1],
        gap_a=shared.gaps[0],
        gap_b=shared.gaps[1],
        left_overlap=alignment.overlap(shared.left),
        right_overlap=alignment.overlap(shared.right),
        left_angles=shared.left,
        right_angles=shared.right,
    )


def _stacked(factors: Sequence[tuple[_Side, Module, Wide]]) -> _Stack:
    """Copies: a bench reads the next factor over the last one.

    Raises:
        AdapterError: a factor is not finite.
    """
    for side, module, wide in factors:
        if not survey.is_finite(wide.values):
            wrong = f"NaN or infinity in {quoted(module.name)}"
            raise refuse(side.adapter.files.weights, wrong, "the training diverged: compare an earlier checkpoint")
    return _Stack(
        np.concatenate([wide.values for _, _, wide in factors]), tuple(wide.exponent for _, _, wide in factors)
    )


def _by_type(found: Sequence[ModuleComparison]) -> dict[str, PooledComparison]:
    groups = {kind: [one for one in found if one.module_type == kind] for kind in layers.TYPES}
    return {kind: _pooled(group) for kind, group in groups.items() if group}


def _pooled(found: Sequence[ModuleComparison]) -> PooledComparison:
    norm_a, norm_b, distance = (
        math.hypot(*column) for column in zip(*((one.norm_a, one.norm_b, one.distance) for one in found), strict=True)
    )
    return PooledComparison(
        n_modules=len(found),
        norm_a=norm_a,
        norm_b=norm_b,
        cosine=_pooled_cosine(found, norm_a, norm_b),
        distance=distance,
        relative_distance=distance / norm_a if norm_a else None,
        left_overlap_mean=_mean([one.left_overlap for one in found]),
        right_overlap_mean=_mean([one.right_overlap for one in found]),
    )


def _pooled_cosine(found: Sequence[ModuleComparison], norm_a: float, norm_b: float) -> float | None:
    """Σ⟨ΔW₁, ΔW₂⟩ / ‖·‖‖·‖, each term relative to the whole, so that no square leaves the range of floats."""
    if not norm_a or not norm_b:
        return None
    parts = [one.cosine * (one.norm_a / norm_a) * (one.norm_b / norm_b) for one in found if one.cosine is not None]
    return max(-1.0, min(1.0, math.fsum(parts)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _noted(which: str, adapter: Adapter) -> list[str]:
    """The adapter's own notes, which say whose they are."""
    return [f"{code}: {which}: {note.strip()}" for code, _, note in (issue.partition(":") for issue in adapter.issues)]


def _other_base(first: Adapter, second: Adapter) -> list[str]:
    bases = first.info.base_model, second.info.base_model
    if None in bases or bases[0] == bases[1]:
        return []
    return [f"other_base: the adapters name different base models ({quoted(bases[0])}, {quoted(bases[1])})"]
