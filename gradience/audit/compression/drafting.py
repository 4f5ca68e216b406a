"""What a compressed adapter will consist of: where which update goes, what is kept, and the words around it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

from gradience.audit.disk.module import Module
from gradience.audit.tensors.safetensors_file import Tensor

FORMAT: Final = {"format": "pt"}  # what loaders of safetensors files ask for


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of factors under its two keys, of the rank `rank`: one module's, or all those of an expert parameter."""

    key_a: str
    key_b: str
    rank: int
    modules: tuple[Module, ...]

    @property
    def copies(self) -> bool:
        """Whether it repeats the factors of a tied embedding, transposed."""
        return self.modules[0].is_copy


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is no factor, bit for bit unless it is multiplied."""

    key: str
    tensor: Tensor
    times: float = 1.0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """All of a new adapter but its numbers."""

    weights: str  # name of the file
    slots: tuple[Slot, ...]
    kept: tuple[Kept, ...] = ()
    alphas: Mapping[str, float] = {}  # entries of the weights file that hold one number
    metadata: Mapping[str, str] = msgspec.field(default_factory=lambda: FORMAT)
    files: Mapping[str, bytes] = {}  # further files, by name
    has_companions: bool = True  # whether the folder is the adapter's own, with files that belong to it


def singles(modules: Sequence[Module], ranks: Mapping[str, int]) -> tuple[Slot, ...]:
    """Every module under the keys that its factors have now."""
    return tuple(
        Slot(
            key_a=module.products[0].a.key,
            key_b=module.products[0].b.key,
            rank=ranks[module.name],
            modules=(module,),
        )
        for module in modules
    )


def rest(tensors: Mapping[str, Tensor], slots: Sequence[Slot], *, ending: str | None = None) -> tuple[Kept, ...]:
    """All other tensors, but those whose keys have this ending."""
    factors = {key for slot in slots for key in (slot.key_a, slot.key_b)}
    others = {key: tensor for key, tensor in tensors.items() if key not in factors}
    return tuple(
        Kept(key=key, tensor=tensor) for key, tensor in others.items() if not (ending and key.endswith(ending))
    )


def pairs(modules: Sequence[Module]) -> list[tuple[Module, ...]]:
    """Modules that share their factors together."""
    ordered = sorted(modules, key=lambda module: module.products[0].a.offset)
    return [tuple(group) for _, group in groupby(ordered, key=lambda module: module.products[0].a.key)]
