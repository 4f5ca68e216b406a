"""Gradience in loops of accelerate: a tracker beside those that it knows by name.

The library is imported when the tracker is asked for, not before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradience_accelerate.tracker import GradienceTracker

__all__ = ["GradienceTracker"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gradience_accelerate.tracker import GradienceTracker

    return GradienceTracker
