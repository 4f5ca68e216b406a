"""What is to be measured of a base model: one stored matrix for each module that has one, and why others have none."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike

import msgspec

from gradience.audit.base import naming, quantised, shards
from gradience.audit.base import place as places
from gradience.audit.base.shards import Base
from gradience.audit.module import Module
from gradience.audit.refusal import listed
from gradience.audit.safetensors_file import Tensor

_SUFFIX = ".weight"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The matrices by module path; `issues` say, each after its code, which modules have none."""

    given: str
    weights: dict[str, Tensor]
    issues: tuple[str, ...] = ()


def make(place: str | PathLike[str], modules: Sequence[Module]) -> Plan:
    """Match `modules` to the weights of the base model at `place`, a path or a reference; no weight is read yet.

    Raises:
        InputError: there is no base model that can be read.
        ExtraMissingError: a library that is needed to fetch it is not installed.
    """
    located = places.located(place)
    base = shards.load(located.folder)
    if reason := quantised.model(base):
        return Plan(given=located.shown, weights={}, issues=(f"base_quantised: {reason}",))
    paths = frozenset(key.removesuffix(_SUFFIX) for key in base.tensors if key.endswith(_SUFFIX))
    found = naming.match([module.name for module in modules], paths, base.config)
    return _sorted_out(located.shown, base, modules, found)


def _sorted_out(given: str, base: Base, modules: Sequence[Module], found: Mapping[str, str]) -> Plan:
    weights: dict[str, Tensor] = {}
    unmatched: list[str] = []
    packed: dict[str, str] = {}
    for module in modules:
        path = found.get(module.name)
        weight = base.tensors.get(f"{path}{_SUFFIX}")
        if path is None or weight is None:
            unmatched.append(module.name)
        elif reason := quantised.tensor(path, weight, base.tensors):
            packed[module.name] = reason
        elif not _fits(module, weight.shape):
            unmatched.append(module.name)
        else:
            weights[module.name] = weight
    notes = {
        "base_quantised": packed and f"weights of modules are quantised ({listed(list(packed))}: {_first(packed)})",
        "base_unmatched": unmatched
        and f"no one weight of the base model has the name and the shape of modules ({listed(unmatched)})",
    }
    return Plan(given=given, weights=weights, issues=tuple(f"{code}: {note}" for code, note in notes.items() if note))


def _fits(module: Module, shape: tuple[int, ...]) -> bool:
    """Linear layers are stored (out, in), Conv1D and embeddings (in, out), convolutions (out, in, ...)."""
    if len(shape) < 2:
        return False
    return sorted((shape[0], math.prod(shape[1:]))) == sorted((module.in_features, module.out_features))


def _first(reasons: Mapping[str, str]) -> str:
    return next(iter(reasons.values()))
