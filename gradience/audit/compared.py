"""What the comparison of two adapters found, as plain records; nothing here imports torch."""

import msgspec

from gradience.audit.record import AdapterInfo

COMPARISON_VERSION = 1


class ModuleComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One weight that both adapters change. What is None has no meaning: an update of zero has no direction.

    The leading `k` directions of an update span a subspace of its outputs (left) and of its inputs (right). The
    principal angles between those of both, in degrees, ascend; an overlap is the mean of their squared cosines (Hu et
    al. 2021): 1 where the smaller subspace lies in the larger, about larger k / width for two at random. `gap` is
    1 - σ(k+1) / σ(k): where it is small, other directions would have done as well.
    """

    name: str
    module_type: str
    layer: int | None
    r_a: int
    r_b: int
    norm_a: float  # Frobenius norm of the update
    norm_b: float
    cosine: float | None  # of the angle between the updates
    distance: float  # Frobenius norm of their difference
    distance_floor: float  # what rounding alone can make of equal updates
    relative_distance: float | None  # distance / norm_a
    k_a: int
    k_b: int
    gap_a: float | None
    gap_b: float | None
    left_overlap: float | None
    right_overlap: float | None
    left_angles: tuple[float, ...]
    right_angles: tuple[float, ...]


class PooledComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Some modules together, as one block-diagonal update; the overlaps are means over those that have one."""

    n_modules: int
    norm_a: float
    norm_b: float
    cosine: float | None
    distance: float
    relative_distance: float | None
    left_overlap_mean: float | None
    right_overlap_mean: float | None


class OtherShape(msgspec.Struct, frozen=True, kw_only=True):
    """A name in both adapters that is not the same weight: rows and columns of its update."""

    name: str
    shape_a: tuple[int, int]
    shape_b: tuple[int, int]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two adapters. `overall` and `by_type` are over the weights that both change."""

    comparison_version: int = COMPARISON_VERSION
    a: AdapterInfo
    b: AdapterInfo
    overall: PooledComparison
    by_type: dict[str, PooledComparison]
    modules: tuple[ModuleComparison, ...]
    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    other_shapes: tuple[OtherShape, ...] = ()
    issues: tuple[str, ...] = ()  # "code: one sentence"
