"""Two adapters, module by module: how alike their updates are in direction, size and leading subspaces.

Both files stream: memory is that of the largest module. Weights are matched by their paths in the base model.
"""

import math
from collections.abc import Iterator, Sequence
from os import PathLike

from gradience.audit import layers, pairs
from gradience.audit.compared import Comparison, ModuleComparison, OtherShape, PooledComparison
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import EXPERT, Module
from gradience.audit.disk.opening import opened
from gradience.audit.pairs import Aligned, Pair
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.spectra import alignment, survey
from gradience.audit.spectra.balance import raised
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


def _compared(first: Adapter, second: Adapter, k: int | None) -> Comparison:
    for adapter in (first, second):
        survey.check_ranks(adapter)
    ours, theirs = _modules(first), _modules(second)
    both = [Pair(module, theirs[name]) for name, module in ours.items() if name in theirs]
    turned = _turned(both, first, second)
    alike = [pair for pair in both if pair.shapes[0] == pair.shapes[1] and pair.a.name not in turned]
    if not alike:
        raise _nothing_shared(first, second)
    updates = pairs.aligned(first, second, alike)
    found = [_module(pair, aligned, k) for pair, aligned in zip(alike, updates, strict=True)]
    overall = _pooled(found)
    if not math.isfinite(max(overall.norm_a, overall.norm_b, overall.distance)):
        raise refuse(first.info.peft_dir, "an update is too large for a number", "check the alphas of both adapters")
    return Comparison(
        a=first.info,
        b=second.info,
        overall=overall,
        by_type=_by_type(found),
        modules=tuple(found),
        only_in_a=tuple(name for name in ours if name not in theirs),
        only_in_b=tuple(name for name in theirs if name not in ours),
        other_shapes=tuple(_other_shapes(both)),
        issues=(*_noted("A", first), *_noted("B", second), *_other_base(first, second), *_not_compared(turned)),
    )


def _modules(adapter: Adapter) -> dict[str, Module]:
    """Without those that share their factors with another one: their update is the same once more."""
    return {module.name: module for module in adapter.modules if not module.is_copy}


def _turned(both: Sequence[Pair], first: Adapter, second: Adapter) -> list[str]:
    """Square experts that one of the adapters may hold transposed: no shape tells."""
    if _is_of_old_experts(first) == _is_of_old_experts(second):
        return []
    experts = (pair for pair in both if pair.a.kind == EXPERT and len({*pair.shapes[0], *pair.shapes[1]}) == 1)
    return [pair.a.name for pair in experts]


def _is_of_old_experts(adapter: Adapter) -> bool:
    return any(issue.startswith("old_experts:") for issue in adapter.issues)


def _other_shapes(both: Sequence[Pair]) -> Iterator[OtherShape]:
    for pair in both:
        shape_a, shape_b = pair.shapes
        if shape_a != shape_b:
            yield OtherShape(name=pair.a.name, shape_a=shape_a, shape_b=shape_b)


def _nothing_shared(first: Adapter, second: Adapter) -> InputError:
    examples = " against ".join(quoted(adapter.modules[0].name) for adapter in (first, second))
    return InputError(
        f"cannot compare {first.info.peft_dir} with {second.info.peft_dir}: they have no weight of one name and shape "
        f"({examples}); give adapters of one base model"
    )


def _module(pair: Pair, updates: Aligned, k: int | None) -> ModuleComparison:
    first, second, exponent = updates
    norms = [raised(core.norm, exponent) for core in (first, second)]
    distance = raised(alignment.distance(first, second), exponent)
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
        distance_floor=raised(first.floor + second.floor, exponent),
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


def _not_compared(turned: Sequence[str]) -> list[str]:
    what = (
        "square experts are not compared: PEFT before 0.19, which wrote one of the adapters, may have transposed them"
    )
    return [f"turned_experts: {what} ({listed(turned)})"] if turned else []


def _other_base(first: Adapter, second: Adapter) -> list[str]:
    bases = first.info.base_model, second.info.base_model
    if None in bases or bases[0] == bases[1]:
        return []
    return [f"other_base: the adapters name different base models ({quoted(bases[0])}, {quoted(bases[1])})"]
