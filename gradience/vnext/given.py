"""What callers of a recorder hand in, in the shape that the contract wants: nothing is lost, and nothing raises."""

from typing import Any

import msgspec

from gradience.vnext import plain
from gradience.vnext.types import Recommendation


def fields(given: Any) -> Any:
    """What the contract wants as an object: anything else goes under `value`, so that it is kept."""
    if given is None:
        return {}
    return given if plain.is_object(given) else {"value": given}


def text(given: Any) -> str:
    """What the contract wants as text, without asking an unknown object for it."""
    if isinstance(given, str):
        return str.__str__(given)
    return str(given) if type(given) in (bool, int, float) else "" if given is None else type(given).__name__


def advice(item: Any) -> Any:
    """One recommendation, without what it does not say."""
    if not isinstance(item, Recommendation):
        return item
    return {key: value for key, value in msgspec.structs.asdict(item).items() if value is not None and value != {}}
