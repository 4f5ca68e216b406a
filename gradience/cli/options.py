"""Options that belong together: declared as one decorator, received as one record."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S", bound=msgspec.Struct)


def together(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """One decorator for several options; `--help` lists them in this order."""

    def decorate(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def taken(kind: type[_S], given: Mapping[str, Any]) -> _S:
    """The record whose fields are named as the parameters of its options."""
    return kind(**{name: given[name] for name in kind.__struct_fields__})
