"""The latest audit of a run's adapter: what each rank would keep of it, as a curve and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradience.audit import columns
from gradience.audit.record import AuditRecord
from gradience.errors import InputError
from gradience.policy import ranks
from gradience.policy.ranks import Candidate
from gradience.report.html.chart import Chart, Figure, Line, draw
from gradience.report.html.page import Table
from gradience.report.numbers import count, megabytes, percent
from gradience.vnext.signals import SignalSnapshot

HEADER = ("rank", "energy kept", "relative error", "worst module", "parameters", "MB")


def table(seen: SignalSnapshot) -> Table | None:
    """The section; None without an audit that this version can read."""
    record = _record(seen.lora_audit)
    if record is None:
        return None
    advice = seen.recommendation or {}
    candidates = ranks.candidates(record)
    suggested = [one.rank for one in candidates].index(rank) if (rank := _rank(advice, candidates)) else None
    verdict = advice.get("verdict")
    step = "" if seen.lora_audit_step is None else f" at step {seen.lora_audit_step:,}"
    return Table(
        title="Audit of the adapter",
        text=f"{_told(record)}{step}.{'' if verdict is None else f' Verdict: {verdict}.'}",
        header=HEADER,
        rows=[_row(one) for one in candidates],
        figure=_curve(candidates),
        chosen=suggested,
        more="Of compressing the adapter after training; not of training at that rank."
        + (" The suggested rank stands out." if suggested is not None else ""),
    )


def _record(metrics: Mapping[str, Any] | None) -> AuditRecord | None:
    try:
        return None if metrics is None else columns.unpack(metrics)
    except (InputError, LookupError, ValueError):
        return None  # somebody else's audit, or one of another version: the rest of the report stands


def _rank(advice: Mapping[str, Any], candidates: Sequence[Candidate]) -> int | None:
    rank = advice.get("suggested_rank")
    return rank if isinstance(rank, int) and rank in [one.rank for one in candidates] else None


def _told(record: AuditRecord) -> str:
    adapter, summary = record.adapter, record.summary
    return f"{adapter.kind}, r={adapter.r}, {count(summary.total_lora_params)} parameters in {summary.n_layers} modules"


def _row(one: Candidate) -> list[str]:
    shares = (one.energy_kept, one.relative_error, one.worst_error)
    return [str(one.rank), *map(percent, shares), count(one.params), megabytes(one.size_bytes)]


def _curve(candidates: Sequence[Candidate]) -> Figure | None:
    points = [(float(one.rank), 100 * one.energy_kept) for one in candidates]
    ends = (points[0][0], points[-1][0])
    line = Line(name="energy kept, %", points=points, has_dots=True)
    return draw(Chart(title="Energy kept by rank", lines=[line], steps=ends, x_name="rank"))
