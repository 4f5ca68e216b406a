"""Gradience in transformers' Trainer, in TRL's trainers and in what is built on them.

transformers is imported when the callback is asked for, not before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradience_transformers.callback import GradienceCallback

__all__ = ["GradienceCallback"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gradience_transformers import callback

    return getattr(callback, name)
