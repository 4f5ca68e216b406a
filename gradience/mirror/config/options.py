"""What a sink's constructor takes, from its signature."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gradience.mirror.sink import Sink

_INHERITED: Final = "active_run"  # what one process has for another, and no person writes


class Option(msgspec.Struct, frozen=True):
    """One option; `kind` is its type, `Any` where that cannot be told."""

    name: str
    kind: Any
    is_needed: bool


class Options(msgspec.Struct, frozen=True):
    """The options of a sink that a person may give, by name; an `is_open` sink takes others too."""

    named: dict[str, Option]
    is_open: bool

    @classmethod
    def of(cls, factory: Callable[..., Sink]) -> "Options":
        """Of a sink's class."""
        parameters = inspect.signature(factory).parameters.values()
        kinds = _kinds(factory)
        named = {
            one.name: Option(one.name, kinds.get(one.name, Any), one.default is one.empty)
            for one in parameters
            if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name != _INHERITED
        }
        return cls(named, any(one.kind is one.VAR_KEYWORD for one in parameters))


def _kinds(factory: Callable[..., Sink]) -> dict[str, Any]:
    made = inspect.getattr_static(factory, "__init__") if isinstance(factory, type) else factory
    try:
        return typing.get_type_hints(made, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that stand under TYPE_CHECKING, foreign descriptors
        return {}
