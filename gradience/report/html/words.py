"""Texts from files as a page shows them: none longer than anybody reads."""

import json
from typing import Any, Final

TEXT_SHOWN: Final = 400  # characters of a value


def cut(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."


def told(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
