"""Lightning as the user has it: one library under two names, whose classes are not the same."""

import importlib
import sys
from importlib.util import find_spec
from typing import Any, Final

_NAMES: Final = ("lightning.pytorch", "pytorch_lightning")


def _library() -> Any:
    """The one that the script has imported already, else the first that is installed.

    Raises:
        ImportError: neither is.
    """
    loaded = [name for name in _NAMES if name in sys.modules]
    found = loaded or [name for name in _NAMES if find_spec(name.partition(".")[0]) is not None]
    if not found:
        raise ImportError("Lightning is not installed: pip install lightning")
    return importlib.import_module(found[0])


_found: Final = _library()
Callback: Any = _found.Callback
DummyLogger: Any = importlib.import_module(f"{_found.__name__}.loggers.logger").DummyLogger
