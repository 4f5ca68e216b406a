"""What a compression did, as plain records: how large each update is, and how far from it the new one."""

import math
from collections.abc import Iterable
from itertools import groupby

import msgspec

from gradience.audit import layers
from gradience.audit.record import AdapterInfo


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One module. Norms are of scale * B @ A, Frobenius: `error` is that of the difference, as it was written.

    `least` is what no adapter of this rank can be below (Eckart-Young); what `error` has more is rounding.
    """

    name: str
    r: int
    rank: int
    params: int  # before
    params_left: int
    norm: float
    error: float
    least: float

    @property
    def relative_error(self) -> float:
        """The error as a share of the norm; 0 for an update of zero."""
        return self.error / self.norm if self.norm else 0.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some modules together, as one block-diagonal update."""

    name: str
    modules: int
    params: int
    params_left: int
    energy_kept: float  # 1 - least**2 / norm**2
    relative_error: float  # what was written, rounding included
    worst_error: float  # of a single module
    worst_module: str


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """One adapter, written smaller."""

    source: AdapterInfo
    out: str
    cuts: tuple[Cut, ...]
    copied: tuple[str, ...] = ()  # names of files that lay beside the adapter
    left_behind: tuple[str, ...] = ()  # ... and that belong to its training alone
    issues: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """The largest rank of any module, which is the config's."""
        return max(cut.rank for cut in self.cuts)

    @property
    def is_uniform(self) -> bool:
        """Whether all modules have one rank."""
        return len({cut.rank for cut in self.cuts}) == 1

    @property
    def whole(self) -> Part:
        """All modules together."""
        return part("all", self.cuts)

    @property
    def by_type(self) -> list[Part]:
        """The modules by their type: attn, mlp, embedding, other."""
        ordered = sorted(self.cuts, key=lambda cut: layers.module_type(cut.name))
        return [part(kind, list(cuts)) for kind, cuts in groupby(ordered, lambda cut: layers.module_type(cut.name))]


def part(name: str, cuts: Iterable[Cut]) -> Part:
    """Some modules together."""
    cuts = list(cuts)
    worst = max(cuts, key=lambda cut: cut.relative_error)
    energy = math.fsum(cut.norm**2 for cut in cuts)
    lost, off = math.fsum(cut.least**2 for cut in cuts), math.fsum(cut.error**2 for cut in cuts)
    return Part(
        name=name,
        modules=len(cuts),
        params=sum(cut.params for cut in cuts),
        params_left=sum(cut.params_left for cut in cuts),
        energy_kept=1.0 - lost / energy if energy else 1.0,
        relative_error=math.sqrt(off / energy) if energy else 0.0,
        worst_error=worst.relative_error,
        worst_module=worst.name,
    )
