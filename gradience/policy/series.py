"""Audits of one training, step after step: what is kept of each, and the document of `--all-checkpoints --json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.audit.record import AuditRecord, AuditSummary
from gradience.policy.advice import Advice

SCHEMA: Final = "gradience.audit_series/v1"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One adapter of the series; `error` says why it has no summary and no advice."""

    peft_dir: str
    step: int | None = None
    fingerprint: str | None = None
    same_as: str | None = None  # an earlier directory with the same weights and config
    summary: AuditSummary | None = None
    advice: Advice | None = None
    error: str | None = None


def point(record: AuditRecord, advice: Advice, earlier: Sequence[Point]) -> Point:
    """What the series keeps of an audit: modules and spectra stay behind, so that long ones fit into memory."""
    adapter = record.adapter
    same = (one.peft_dir for one in earlier if one.fingerprint and one.fingerprint == adapter.fingerprint)
    return Point(
        peft_dir=adapter.peft_dir,
        step=adapter.step,
        fingerprint=adapter.fingerprint,
        same_as=next(same, None),
        summary=record.summary,
        advice=advice,
    )


def document(folder: str | Path, energy_level: float, points: Sequence[Point]) -> dict[str, Any]:
    """What `--json` prints: per adapter the fields of the audit's summary and its advice in short."""
    return {
        "schema": SCHEMA,
        "peft_dir": str(folder),
        "energy_level": energy_level,
        "points": [_row(one) for one in points],
    }


def _row(one: Point) -> dict[str, Any]:
    row = {name: getattr(one, name) for name in ("peft_dir", "step", "fingerprint", "same_as", "error")}
    if one.summary is None or one.advice is None:
        return row
    advice = one.advice
    return {
        **row,
        **msgspec.to_builtins(one.summary),
        "suggested_rank_median": advice.ranks.suggested_rank_median,
        "suggested_rank_p90": advice.ranks.suggested_rank_p90,
        "verdict": advice.verdict,
        "codes": list(advice.codes),
    }
