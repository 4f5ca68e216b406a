"""Hooks that training calls: whatever goes wrong in one is said once, and training goes on."""

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

_log = logging.getLogger("gradience.recording")
_said: set[tuple[str, type[BaseException]]] = set()

Hook = TypeVar("Hook", bound=Callable[..., Any])


def harmless(hook: Hook) -> Hook:
    """The same method, which returns None instead of raising an Exception; each kind of error is logged once."""

    @functools.wraps(hook)
    def quiet(*arguments: Any, **named: Any) -> Any:
        try:
            return hook(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - the boundary to training
            say(hook.__qualname__, error)
            return None

    return quiet  # type: ignore[return-value]


def say(where: str, error: Exception) -> None:
    """Log an error, the first time that it comes."""
    if (where, type(error)) not in _said:
        _said.add((where, type(error)))
        _log.warning(
            "%s: %s: %s; training goes on, its telemetry may lack something", where, type(error).__name__, error
        )
