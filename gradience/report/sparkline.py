"""A curve in one line of text."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from gradience.curves.curve import Bucket

BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII: Final = "_.-:=+*#"  # for a terminal whose encoding has no blocks


def sparkline(buckets: Sequence[Bucket], width: int, *, encoding: str | None = "utf-8") -> str:
    """At most `width` signs, the lowest for the smallest mean and the highest for the largest one."""
    means = _means(buckets, width)
    if not means:
        return ""
    low, high = min(means), max(means)
    signs = BLOCKS if _can_show(encoding) else ASCII
    return "".join(signs[_level(mean, low, high, len(signs))] for mean in means)


def _means(buckets: Sequence[Bucket], width: int) -> list[float]:
    """Of neighbouring buckets, as many of them together as it takes."""
    cuts = [len(buckets) * column // width for column in range(width + 1)] if len(buckets) > width else []
    groups = [buckets[start:end] for start, end in pairwise(cuts)] or [[one] for one in buckets]
    return [sum(one.mean / len(group) for one in group) for group in groups]


def _level(value: float, low: float, high: float, levels: int) -> int:
    if not high > low:
        return 0
    share = (value - low) / (high - low)
    return min(levels - 1, int(share * levels)) if math.isfinite(share) else 0


def _can_show(encoding: str | None) -> bool:
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
