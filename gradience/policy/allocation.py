"""Which rank each part of an adapter gets, where all of them share one budget.

Directions are pooled over the whole model and taken in the order of their energy per parameter, down to one global
threshold: PARA (arXiv 2604.27796) does it without the price. A cut at the same share of each module's own energy keeps
much of what hardly matters to the whole.
"""

import math
from collections.abc import Sequence

import msgspec


class Item(msgspec.Struct, frozen=True):
    """What has one rank: the energy (σ²) of each further direction, descending, and the parameters of each."""

    energies: tuple[float, ...]
    price: int


def pooled(items: Sequence[Item], share: float) -> list[int]:
    """The rank of each item, at least 1, so that together they keep this share of all energy."""
    ranks = [1] * len(items)
    kept = math.fsum(item.energies[0] for item in items)
    wanted = share * math.fsum(energy for item in items for energy in item.energies)
    rest = sorted(
        ((energy, place, item.price) for place, item in enumerate(items) for energy in item.energies[1:]),
        key=lambda one: -one[0] / one[2],
    )
    for energy, place, _ in rest:
        if kept >= wanted:
            break
        ranks[place] += 1
        kept += energy
    return ranks


def uniform(items: Sequence[Item], share: float) -> int:
    """The least rank for all items that keeps this share of all energy."""
    largest = max(len(item.energies) for item in items)
    wanted = share * math.fsum(energy for item in items for energy in item.energies)
    kept = 0.0
    for rank in range(1, largest):
        kept += math.fsum(item.energies[rank - 1] for item in items if len(item.energies) >= rank)
        if kept >= wanted:
            return rank
    return largest


def price(items: Sequence[Item], ranks: Sequence[int]) -> int:
    """The parameters at these ranks; an item has no more directions than it has."""
    return sum(item.price * min(rank, len(item.energies)) for item, rank in zip(items, ranks, strict=True))
