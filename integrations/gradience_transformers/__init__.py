"""Gradience in transformers' Trainer, in TRL's trainers and in what is built on them, axolotl's pipelines for one.

transformers is imported when one of the names is asked for, not before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gradience_transformers.axolotl import AxolotlPlugin
    from gradience_transformers.callback import GradienceCallback

__all__ = ["AxolotlPlugin", "GradienceCallback"]

_PLACES: Final = {
    "AxolotlPlugin": "gradience_transformers.axolotl",
    "GradienceCallback": "gradience_transformers.callback",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
