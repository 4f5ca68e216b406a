"""The audit as the payload of one telemetry event: summary flat; modules, layers and targets as columns.

The round trip is exact but for the singular values, which stay behind: most of the bytes, little of the news.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gradience.audit.record import AuditRecord, AuditSummary, ModuleAudit, NamedGroup
from gradience.errors import InputError

KIND = "lora_audit"
TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "modules": ModuleAudit,
    "by_layer": NamedGroup,
    "by_target": NamedGroup,
}
LEFT_OUT: Final = "singular_values"
_OPTIONAL: Final = frozenset(
    field.name
    for kind in (AuditRecord, AuditSummary, ModuleAudit)
    for field in msgspec.structs.fields(kind)
    if field.default is None
)


def pack(record: AuditRecord) -> dict[str, Any]:
    """The `metrics` of a `metrics(kind="lora_audit")` event, as plain JSON-ready values."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    tables = {name: _columns(kind, fields.pop(name)) for name, kind in TABLES.items()}
    by_type = {name: told(group) for name, group in fields.pop("by_type").items()}
    return {**told(fields.pop("summary")), **told(fields), "by_type": by_type, **tables}


def unpack(metrics: Mapping[str, Any]) -> AuditRecord:
    """The record that `pack` was given, from a payload that may hold more.

    Raises:
        InputError: the payload is not an audit of a version this one can read.
    """
    try:
        tables = {name: _rows(kind, metrics[name]) for name, kind in TABLES.items()}
        summary = {name: metrics[name] for name in AuditSummary.__struct_fields__ if name in metrics}
        return msgspec.convert({**metrics, **tables, "summary": summary}, AuditRecord)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"cannot read the audit in a telemetry event: {error}; audit the adapter again") from error


def names(kind: type[msgspec.Struct]) -> list[str]:
    """The columns of a table of such rows."""
    return ["name", *(name for name in kind.__struct_fields__ if name not in ("name", LEFT_OUT))]


def told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only some audits measure, where this one did not."""
    return {name: value for name, value in fields.items() if value is not None or name not in _OPTIONAL}


def _columns(kind: type[msgspec.Struct], rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    table = {name: [row[name] for row in rows] for name in names(kind)}
    return {
        name: column for name, column in table.items() if name not in _OPTIONAL or any(v is not None for v in column)
    }


def _rows(kind: type[msgspec.Struct], table: Mapping[str, Any]) -> list[dict[str, Any]]:
    # A column with a default may be missing: not every version knows it.
    known = [name for name in names(kind) if name in table or name == "name"]
    return [dict(zip(known, row, strict=True)) for row in zip(*(table[name] for name in known), strict=True)]
