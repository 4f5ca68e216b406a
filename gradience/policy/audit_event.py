"""An audit and its advice as the two events of the journal, and as the document of `gradience audit --json`.

Public field names stand for the public release's quantities only; what is new has a new name. Lists of numbers per
module are columns of the event, never points of a tracker.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gradience.audit import columns, ladder
from gradience.audit.record import AUDIT_VERSION, AuditRecord, ModuleAudit, NamedGroup
from gradience.policy import ranks
from gradience.policy.advice import Advice, Confidence, Suggestion, Verdict
from gradience.vnext.types import Recommendation

KIND: Final = "lora_audit"
DOCUMENT_SCHEMA: Final = "gradience.audit/v1"
ROWS_SCHEMA: Final = "v1"


class SuggestedRanks(msgspec.Struct, frozen=True, kw_only=True):
    """The ranks that an audit suggests, beside its own fields; `suggested_rank` is None where advice is withheld."""

    suggested_rank_median: int
    suggested_rank_p90: int
    suggested_rank: int | None
    suggested_r_global_median: int  # the public release's, at 90 %
    suggested_r_global_90: int
    suggested_rank_energy_kept: float | None
    current_r: int


class CandidateColumns(msgspec.Struct, frozen=True, kw_only=True):
    """What the adapter would be at each of its candidate ranks."""

    candidate_params: list[int]
    candidate_bytes: list[int | None]
    candidate_worst_error: list[float]
    candidate_worst_module: list[str]


class AdviceFields(msgspec.Struct, frozen=True, kw_only=True):
    """The findings, and the advice as flat searchable fields; `adapter` is the fingerprint of what it is about."""

    recommendations: list[Recommendation]
    verdict: Verdict
    codes: list[str]
    suggestion: Suggestion
    suggested_rank: int | None
    rank_waste: float | None  # None where nothing could be measured
    energy_kept: float | None
    confidence: Confidence
    verified: str
    audit_version: int
    adapter: str | None


class LayerRow(ModuleAudit, frozen=True, kw_only=True):
    """One module, and the parameters that carry the last 5 % of its energy."""

    surplus_params: float


class LayerData(msgspec.Struct, frozen=True, kw_only=True):
    """The modules that were asked for."""

    layer_rows_schema: str = ROWS_SCHEMA
    layer_rows: tuple[LayerRow, ...]


def metrics(record: AuditRecord, advice: Advice) -> dict[str, Any]:
    """The `metrics` of the `metrics(kind="lora_audit")` event: the whole record, and the ranks that it suggests."""
    beside = (_suggested(record, advice), _candidates(record))
    return columns.pack(record) | {key: value for one in beside for key, value in msgspec.to_builtins(one).items()}


def recommendation(record: AuditRecord, advice: Advice) -> dict[str, Any]:
    """The payload of the `recommendation` event."""
    fields = AdviceFields(
        recommendations=list(advice.recommendations),
        verdict=advice.verdict,
        codes=list(advice.codes),
        suggestion=advice.suggestion,
        suggested_rank=advice.suggested_rank,
        rank_waste=advice.rank_waste,
        energy_kept=advice.energy_kept,
        confidence=advice.confidence,
        verified=advice.verified,
        audit_version=advice.audit_version,
        adapter=record.adapter.fingerprint,
    )
    payload: dict[str, Any] = msgspec.to_builtins(fields)
    return payload


def unmeasured(findings: Sequence[Recommendation], fingerprint: str | None) -> dict[str, Any]:
    """The payload of the `recommendation` event on an adapter that could not be measured, because of these."""
    fields = AdviceFields(
        recommendations=list(findings),
        verdict="error",
        codes=sorted(one.action for one in findings),
        suggestion="none",
        suggested_rank=None,
        rank_waste=None,
        energy_kept=None,
        confidence="high",
        verified="no",
        audit_version=AUDIT_VERSION,
        adapter=fingerprint,
    )
    payload: dict[str, Any] = msgspec.to_builtins(fields)
    return payload


def document(record: AuditRecord, advice: Advice, rows: list[ModuleAudit] | None = None) -> dict[str, Any]:
    """What `--json` prints. `rows` are the modules asked for; without any there is no `layer_data`."""
    body = {key: value for key, value in metrics(record, advice).items() if key not in columns.TABLES}
    adapter = record.adapter
    shown = {} if rows is None else {"layer_data": msgspec.to_builtins(_layer_data(rows))}
    return {
        "schema": DOCUMENT_SCHEMA,
        "peft_dir": adapter.peft_dir,
        "adapter_config_path": adapter.adapter_config_path,
        "adapter_weights_path": adapter.adapter_weights_path,
        **body,
        "by_layer": [_group(layer) for layer in record.by_layer],
        "by_target": [_group(target) for target in record.by_target],
        "advice": recommendation(record, advice),
        **shown,
    }


def most_surplus(modules: Iterable[ModuleAudit], count: int) -> list[ModuleAudit]:
    """The modules with the most parameters beyond their 95 % energy rank: by (1 - k95 / r) x params, largest first."""
    return sorted(modules, key=lambda module: (-surplus(module), module.name))[:count]


def surplus(module: ModuleAudit) -> float:
    """Parameters of a module that carry the last 5 % of its update energy: (1 - k95 / r) x params."""
    return (1.0 - module.energy_rank_95 / module.r) * module.params


def _suggested(record: AuditRecord, advice: Advice) -> SuggestedRanks:
    asked, summary = advice.ranks, record.summary
    return SuggestedRanks(
        suggested_rank_median=asked.suggested_rank_median,
        suggested_rank_p90=asked.suggested_rank_p90,
        suggested_rank=advice.suggested_rank,
        suggested_r_global_median=ladder.at_least(summary.energy_rank_90_p50, asked.current_r),
        suggested_r_global_90=ladder.at_least(summary.energy_rank_90_p90, asked.current_r),
        suggested_rank_energy_kept=advice.energy_kept,
        current_r=asked.current_r,
    )


def _candidates(record: AuditRecord) -> CandidateColumns:
    table = ranks.candidates(record)
    return CandidateColumns(
        candidate_params=[row.params for row in table],
        candidate_bytes=[row.size_bytes for row in table],
        candidate_worst_error=[row.worst_error for row in table],
        candidate_worst_module=[row.worst_module for row in table],
    )


def _group(group: NamedGroup) -> dict[str, Any]:
    return {"name": group.name, **columns.told(msgspec.to_builtins(group))}


def _layer_data(rows: Iterable[ModuleAudit]) -> LayerData:
    return LayerData(
        layer_rows=tuple(LayerRow(**msgspec.structs.asdict(row), surplus_params=surplus(row)) for row in rows)
    )
