"""The register of mutations: what each breaks, at which level, and whether the adapter must still be audited."""

from collections.abc import Callable
from random import Random
from typing import Any, Final, TypeVar

import msgspec

# In the order in which they are applied: the draft, the text of its config, the entries of its safetensors header, the
# bytes of its weights, the folder with all its files.
STAGES: Final = ("draft", "config", "header", "weights", "folder")
SAFE: Final = frozenset({"safetensors"})
PICKLED: Final = frozenset({"zip", "legacy"})
ZIPPED: Final = frozenset({"zip"})
ALL: Final = SAFE | PICKLED

Apply = TypeVar("Apply", bound=Callable[[Any, Random], Any])


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """`apply` takes what its stage works on and a generator; what it returns replaces it, except a draft or folder.

    After a `harmless` mutation the adapter is still a good one: to refuse it is a finding.
    """

    name: str
    stage: str
    apply: Callable[[Any, Random], Any]
    harmless: bool
    weight: float
    forms: frozenset[str]


REGISTER: Final[list[Mutation]] = []


def mutates(
    stage: str, name: str, *, harmless: bool = False, weight: float = 1.0, forms: frozenset[str] = ALL
) -> Callable[[Apply], Apply]:
    """Register a function; a costly one has a low weight."""

    def register(apply: Apply) -> Apply:
        limits = SAFE if stage == "header" else forms
        REGISTER.append(Mutation(name=name, stage=stage, apply=apply, harmless=harmless, weight=weight, forms=limits))
        return apply

    return register
