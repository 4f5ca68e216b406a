"""Gradience in Lightning's Trainer, by either of its names, `lightning` and `pytorch_lightning`.

The library is imported when the callback is asked for, not before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradience_lightning.callback import GradienceCallback

__all__ = ["GradienceCallback"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gradience_lightning.callback import GradienceCallback

    return GradienceCallback
