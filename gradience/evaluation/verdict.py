"""Whether a compressed adapter is as good as its original: pass, fail, or inconclusive where the noise is too large.

A drop fails if it is beyond the tolerance and beyond one standard error. Without such a drop, an evaluation passes if
it could have shown one: if its standard error is no larger than the tolerance, or the adapter is better by enough to
rule it out. The tolerance, where none is stated, is a share of the original, or one standard error where that is
larger, up to another share: a coarser evaluation shows nothing.
"""

from typing import Final, Literal

import msgspec

from gradience.errors import InputError
from gradience.evaluation.paired import Difference

Outcome = Literal["pass", "fail", "inconclusive"]

_ROUNDING: Final = 1e-9  # 0.99 - 0.98 is a little more than 0.01


class Usual(msgspec.Struct, frozen=True):
    """The tolerance where nobody states one, as shares of the original; see `policy.verification`."""

    share: float
    coarsest: float


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse is still as good: a number, or a share of the original; neither means the usual."""

    usual: Usual
    absolute: float | None = None
    relative: float | None = None

    def of(self, found: Difference) -> float:
        """In units of the metric."""
        size = abs(found.original)
        if self.absolute is not None:
            return self.absolute
        if self.relative is not None:
            return self.relative * size
        return max(self.usual.share * size, min(found.error or 0.0, self.usual.coarsest * size))

    @property
    def is_usual(self) -> bool:
        """Whether nobody stated one."""
        return self.absolute is None and self.relative is None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`drop` is how much worse the compressed adapter is; below zero where it is better."""

    outcome: Outcome
    drop: float
    tolerance: float
    higher_is_better: bool
    difference: Difference


def tolerance(text: str | None, usual: Usual) -> Tolerance:
    """What a person means by `0.01` or `0.5%`.

    Raises:
        InputError: neither is it, or it is below zero.
    """
    if text is None:
        return Tolerance(usual=usual)
    number, is_share = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"--tolerance {text} is neither a number such as 0.01 nor a share such as 0.5%")
    return Tolerance(usual=usual, relative=value / 100) if is_share else Tolerance(usual=usual, absolute=value)


def judge(found: Difference, allowed: Tolerance, *, higher_is_better: bool) -> Verdict:
    """The outcome; without a standard error the measured drop alone decides."""
    drop = -found.delta if higher_is_better else found.delta
    limit, error = allowed.of(found), found.error or 0.0
    outcome: Outcome = "pass" if error + min(drop, 0.0) <= limit else "inconclusive"
    if drop > max(limit, error) + _ROUNDING * abs(found.original):
        outcome = "fail"
    return Verdict(outcome=outcome, drop=drop, tolerance=limit, higher_is_better=higher_is_better, difference=found)
