"""Recorded advice, read with care: it may be anybody's."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gradience.vnext.types import Recommendation


def recommendations(advice: Mapping[str, Any]) -> list[Recommendation]:
    """The findings in the payload of a recommendation, without those that are none."""
    found = advice.get("recommendations")
    listed = found if isinstance(found, list | tuple) else ()
    return [one for one in map(_recommendation, listed) if one is not None]


def _recommendation(value: object) -> Recommendation | None:
    if isinstance(value, Recommendation):
        return value
    try:
        return msgspec.convert(value, Recommendation, strict=False)
    except msgspec.ValidationError:
        return None
