"""What is to be measured of a base model: one stored matrix for each module that has one, and why others have none."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike

import msgspec

from gradience.audit.base import naming, quantised, shards
from gradience.audit.base import place as places
from gradience.audit.base.shards import Base
from gradience.audit.disk.module import Module
from gradience.audit.refusal import listed
from gradience.audit.tensors.safetensors_file import Tensor

_WEIGHTS = (".weight", ".in_proj_weight")  # the second: MultiheadAttention's, whose module is called as a whole
_EXPERT = re.compile(r"(?P<path>.+)\[(?P<number>[0-9]{1,9})\]")


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
    stored = _stored(base)
    found = naming.match({_path(module.name) for module in modules}, stored.keys(), base.config)
    weights: dict[str, Tensor] = {}
    unmatched: list[str] = []
    packed: dict[str, str] = {}
    for module in modules:
        path = found.get(_path(module.name))
        if path is None:
            unmatched.append(module.name)
        elif reason := quantised.tensor(stored[path], base.tensors):
            packed[module.name] = reason
        elif weight := _own(module, stored[path]):
            weights[module.name] = weight
        else:
            unmatched.append(module.name)
    return Plan(given=located.shown, weights=weights, issues=tuple(_issues(unmatched, packed)))


def _stored(base: Base) -> dict[str, Tensor]:
    """The tensors by their keys, and weights by the paths of their modules, too."""
    weights = {key.removesuffix(end): one for end in _WEIGHTS for key, one in base.tensors.items() if key.endswith(end)}
    return {**weights, **base.tensors}


def _path(name: str) -> str:
    """The path of a module; of an expert, that of the parameter that holds all of them."""
    expert = _EXPERT.fullmatch(name)
    return expert["path"] if expert else name


def _own(module: Module, weight: Tensor) -> Tensor | None:
    """The weight, or an expert's slice of it, if it has the module's shape.

    Linear layers are stored (out, in), Conv1D and embeddings (in, out), convolutions (out, in, ...).
    """
    shape, offset, nbytes, key = weight.shape, weight.offset, weight.nbytes, weight.key
    if expert := _EXPERT.fullmatch(module.name):
        number, count = int(expert["number"]), shape[0] if len(shape) == 3 else 0
        if number >= count:
            return None
        shape, nbytes, key = shape[1:], nbytes // count, f"{key}[{number}]"
        offset += number * nbytes
    if len(shape) < 2 or sorted((shape[0], math.prod(shape[1:]))) != sorted((module.in_features, module.out_features)):
        return None
    return msgspec.structs.replace(weight, key=key, shape=shape, offset=offset, nbytes=nbytes)


def _issues(unmatched: Sequence[str], packed: Mapping[str, str]) -> Iterator[str]:
    if packed:
        reason = next(iter(packed.values()))
        yield f"base_quantised: weights of modules are quantised ({listed(list(packed))}: {reason})"
    if unmatched:
        what = "no one weight of the base model has the name and the shape of modules"
        yield f"base_unmatched: {what} ({listed(unmatched)})"
