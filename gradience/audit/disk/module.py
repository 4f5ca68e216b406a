"""One adapted weight as a recipe over stored tensors: which ones, which part of each, and what to multiply with.

Whoever knows a layout builds `Module`s; whoever measures reads them, and needs to know no layout. A module's update is
scale * Σ weight * B @ diag(E) @ A over its products, so the stack of all A and the stack of all B have its spectrum.
"""

import math
import re
from typing import Final

import msgspec

from gradience.audit.tensors.safetensors_file import Tensor

LINEAR: Final = "linear"
EMBEDDING: Final = "embedding"
CONV: Final = "conv"  # flattened: out channels x (in channels * kernel)
ATTENTION: Final = "attention"  # the fused input, or the output projection of torch's MultiheadAttention: one rank
EXPERT: Final = "expert"  # one expert's slice of a stacked parameter
PARAMETER: Final = "parameter"  # a bare 2-D parameter

_EXPERT: Final = re.compile(r"\[[0-9]+\]$")
_INSIDE: Final = ".out_proj"  # of torch's MultiheadAttention, which PEFT wraps as a whole


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """weight * B @ diag(E) @ A; each tensor is a matrix once all its dimensions after the first are flattened.

    A's matrix is (rank, in) and B's is (out, rank), unless both are stored `transposed`; where several products share a
    tensor, `rows` of A and `columns` of B are this one's share of the rank.
    """

    a: Tensor
    b: Tensor
    rows: slice | None = None
    columns: slice | None = None
    diagonal: Tensor | None = None  # E, one number per row of A
    weight: float = 1.0
    transposed: bool = False

    @property
    def in_features(self) -> int:
        """Width of what A reads."""
        return self.a.shape[0] if self.transposed else math.prod(self.a.shape[1:])

    @property
    def out_features(self) -> int:
        """Width of what B writes."""
        return self.b.shape[1 if self.transposed else 0]

    @property
    def rank(self) -> int:
        """How many rows of A and columns of B take part."""
        whole = self.a.shape[1 if self.transposed else 0]
        return whole if self.rows is None else len(range(whole)[self.rows])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Everything that is read for it."""
        return (self.a, self.b) if self.diagonal is None else (self.a, self.b, self.diagonal)


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One adapted weight. `r` is the rank of all its products together; `in_features` x `out_features` its shape."""

    name: str  # path in the base model
    kind: str = LINEAR
    r: int
    alpha: float
    scale: float
    products: tuple[Product, ...]
    is_copy: bool = False  # shares its factors with another module (tied embeddings), where they are counted

    @property
    def in_features(self) -> int:
        """Width of what A reads."""
        return self.products[0].in_features

    @property
    def out_features(self) -> int:
        """Width of what B writes."""
        return self.products[0].out_features

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that is read for it."""
        return [tensor for product in self.products for tensor in product.tensors]

    @property
    def is_pair(self) -> bool:
        """Whether the A and the B that are multiplied are the very factors that were trained."""
        return len(self.products) == 1 and self.products[0].diagonal is None

    @property
    def params(self) -> int:
        """Numbers in the factors."""
        return 0 if self.is_copy else self.r * (self.in_features + self.out_features)


def owner(name: str, kind: str) -> str:
    """What PEFT looks a module's rank up by: experts share a parameter's, both parts of a MultiheadAttention one."""
    if kind == ATTENTION:
        return name.removesuffix(_INSIDE)
    return _EXPERT.sub("", name) if kind == EXPERT else name


def natural(name: str) -> list[str | tuple[int, str]]:
    """The key that sorts layer 2 before layer 10, which the order of keys in a file does not."""
    parts = re.split(r"([0-9]+)", name)
    return [(len(part), part) if place % 2 else part for place, part in enumerate(parts)]
