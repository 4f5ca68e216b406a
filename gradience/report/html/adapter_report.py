"""An audited adapter as a page, from the payloads of its two events: the same beside a tracked run as without one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradience import __version__
from gradience.audit.record import AuditRecord
from gradience.report import advised, commands
from gradience.report.audit_text import VERDICTS, VERIFIED
from gradience.report.html import audit_section, rendering
from gradience.report.html.findings import findings
from gradience.report.html.page import Page, Pair, Table
from gradience.report.html.words import told
from gradience.report.numbers import MISSING, count, number, percent

_KINDS: Final = {"ok": "ok", "review": "warning", "act": "warning", "abstain": "info", "error": "error"}


def render(metrics: Mapping[str, Any], advice: Mapping[str, Any] | None) -> str:
    """The report as one HTML file, of a `lora_audit` and the recommendation on it."""
    return rendering.render(page(metrics, advice or {}))


def page(metrics: Mapping[str, Any], advice: Mapping[str, Any]) -> Page:
    """What the report says; of another producer's audit its plain numbers."""
    record = audit_section.read(metrics)
    verdict = advice.get("verdict")
    return Page(
        title=_title(metrics),
        status=f"verdict: {verdict}" if verdict else "no verdict",
        status_kind=_KINDS.get(str(verdict), "info"),
        subtitle=_subtitle(record),
        source=_source(record),
        tiles=_tiles(record, advice),
        findings=findings(advised.recommendations(advice)),
        commands=[] if record is None else commands.test(record.adapter.peft_dir, advice),
        tables=[_bare(metrics)] if record is None else _tables(record, advice),
        made=f"Made by gradience {__version__} from the weights of the adapter.",
    )


def _title(metrics: Mapping[str, Any]) -> str:
    adapter = metrics.get("adapter")
    place = adapter.get("peft_dir") if isinstance(adapter, Mapping) else None
    return str(place).rstrip("/").rpartition("/")[2] if place else "Audit of an adapter"


def _subtitle(record: AuditRecord | None) -> str:
    if record is None:
        return ""
    adapter = record.adapter
    step = None if adapter.step is None else f"step {adapter.step:,}"
    return " · ".join(part for part in (adapter.base_model, audit_section.told(record), step) if part)


def _source(record: AuditRecord | None) -> str:
    if record is None:
        return ""
    return ", ".join(part for part in (record.adapter.peft_dir, record.adapter.fingerprint) if part)


def _tiles(record: AuditRecord | None, advice: Mapping[str, Any]) -> list[Pair]:
    if record is None:
        return []
    summary, rank = record.summary, advice.get("suggested_rank")
    energy, verified = advice.get("energy_kept"), advice.get("verified")
    tiles = [
        Pair("rank", str(record.adapter.r)),
        Pair("parameters", count(summary.total_lora_params)),
        Pair("rank waste", percent(summary.rank_waste)),
        Pair("k@95, p50 / p90", f"{number(summary.energy_rank_95_p50)} / {number(summary.energy_rank_95_p90)}"),
        Pair("rank to test", MISSING if rank is None else str(rank)),
    ]
    if isinstance(energy, float):
        tiles.append(Pair("energy at that rank", percent(energy)))
    return [*tiles, *([Pair("verified", str(verified))] if verified in VERIFIED else [])]


def _tables(record: AuditRecord, advice: Mapping[str, Any]) -> list[Table]:
    notes = [note.partition(":")[::2] for note in record.issues]
    return [
        *audit_section.tables(record, advice, "Candidate ranks", _meaning(advice)),
        *([Table(title="Notes", rows=[[code, text.strip()] for code, text in notes], is_wide=True)] if notes else []),
    ]


def _meaning(advice: Mapping[str, Any]) -> str:
    """The verdict in words, and whether it was tested."""
    words = [VERDICTS.get(advice.get("verdict", "")), VERIFIED.get(advice.get("verified", ""))]
    return " ".join(f"{word[0].upper()}{word[1:]}." for word in words if word)


def _bare(metrics: Mapping[str, Any]) -> Table:
    rows: Sequence[Sequence[str]] = [
        [key, told(value)] for key, value in metrics.items() if isinstance(value, int | float)
    ]
    return Table(title="Measures", rows=rows, is_wide=True)
