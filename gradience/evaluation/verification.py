"""A verification as its event tells it: `metrics(kind="verification")`.

Numbers, both adapters' fingerprints and the command without secrets; never anything that an evaluation printed.
"""

import os
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, Final

import msgspec

from gradience.audit.record import AdapterInfo
from gradience.evaluation.paired import Basis
from gradience.evaluation.verdict import Outcome, Verdict
from gradience.vnext import privacy

KIND: Final = "verification"
DOCUMENT_SCHEMA: Final = "gradience.verification/v1"
_LONGEST: Final = privacy.MAX_STR_LEN  # a longer string is not recorded


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two adapters."""

    fingerprint: str | None
    peft_dir: str
    r: int
    step: int | None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """One verification; `delta` is compressed - original in units of the metric, values are means over `repeats`."""

    verified: Outcome
    metric: str
    higher_is_better: bool
    original: float
    compressed: float
    delta: float
    standard_error: float | None
    standard_error_from: Basis
    tolerance: float
    tolerance_stated: bool
    repeats: int
    n: int | None
    original_values: list[float]
    compressed_values: list[float]
    original_seconds: float  # of one evaluation, on average
    compressed_seconds: float
    seeds: list[int]
    command: str
    adapter: Subject
    compressed_adapter: Subject

    @property
    def drop(self) -> float:
        """How much worse the compressed adapter is; below zero where it is better."""
        return -self.delta if self.higher_is_better else self.delta


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How the evaluations were made."""

    metric: str
    command: str
    seeds: Sequence[int]
    original_values: Sequence[float]
    compressed_values: Sequence[float]
    original_seconds: float
    compressed_seconds: float
    tolerance_stated: bool


def of(verdict: Verdict, conduct: Conduct, original: AdapterInfo, compressed: AdapterInfo) -> Verification:
    """The record of a verdict."""
    found = verdict.difference
    return Verification(
        verified=verdict.outcome,
        metric=conduct.metric,
        higher_is_better=verdict.higher_is_better,
        original=found.original,
        compressed=found.compressed,
        delta=found.delta,
        standard_error=found.error,
        standard_error_from=found.basis,
        tolerance=verdict.tolerance,
        tolerance_stated=conduct.tolerance_stated,
        repeats=len(conduct.seeds),
        n=found.n,
        original_values=list(conduct.original_values),
        compressed_values=list(conduct.compressed_values),
        original_seconds=conduct.original_seconds,
        compressed_seconds=conduct.compressed_seconds,
        seeds=list(conduct.seeds),
        command=masked(conduct.command),
        adapter=_subject(original),
        compressed_adapter=_subject(compressed),
    )


def metrics(found: Verification) -> dict[str, Any]:
    """The `metrics` of the event."""
    told: dict[str, Any] = msgspec.to_builtins(found)
    return told


def read(told: Mapping[str, Any] | None) -> Verification | None:
    """The verification of an event's metrics; None for what is none of this version."""
    try:
        return msgspec.convert(told, Verification)
    except msgspec.ValidationError:
        return None


def masked(command: str) -> str:
    """A command without secrets, those of the environment among them, and short enough to be recorded."""
    policy = privacy.Policy(max_str_len=None, known=privacy.secrets(os.environ))
    return shorten(privacy.clean(command, policy, "/command"), _LONGEST, placeholder=" ...")


def _subject(adapter: AdapterInfo) -> Subject:
    place = adapter.peft_dir if len(adapter.peft_dir) <= _LONGEST else f"...{adapter.peft_dir[3 - _LONGEST :]}"
    return Subject(fingerprint=adapter.fingerprint, peft_dir=place, r=adapter.r, step=adapter.step)
