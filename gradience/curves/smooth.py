"""The trend of a curve: an exponentially weighted mean over its points, from its buckets."""

from collections.abc import Sequence
from typing import Final

from gradience.curves.curve import Bucket

ALPHA: Final = 0.05  # the weight of a point: the slow mean of the detectors, some twenty points of memory


def ewma(buckets: Sequence[Bucket], alpha: float = ALPHA) -> list[float]:
    """One value for each bucket: exact where each holds one point; else as if all its points were its mean.

    The weights of the points so far are normalised, so that the first ones do not count for more than they are.
    """
    total = weight = 0.0
    found: list[float] = []
    for bucket in buckets:
        kept = (1 - alpha) ** bucket.count
        total = total * kept + bucket.mean * (1 - kept)
        weight = weight * kept + (1 - kept)
        found.append(total / weight)
    return found
