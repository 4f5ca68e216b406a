"""The audit as the payload of one telemetry event: summary flat, modules as columns.

The round trip is exact but for the singular values, which stay behind: most of the bytes, little of the news.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gradience.audit.record import AuditRecord, AuditSummary, ModuleAudit
from gradience.errors import InputError

KIND = "lora_audit"
_LEFT_OUT = "singular_values"
_COLUMNS = tuple(name for name in ModuleAudit.__struct_fields__ if name != _LEFT_OUT)


def pack(record: AuditRecord) -> dict[str, Any]:
    """The `metrics` of a `metrics(kind="lora_audit")` event, as plain JSON-ready values."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    modules = fields.pop("modules")
    return {
        **fields.pop("summary"),
        **fields,
        "modules": {name: [module[name] for module in modules] for name in _COLUMNS},
    }


def unpack(metrics: Mapping[str, Any]) -> AuditRecord:
    """The record that `pack` was given, from a payload that may hold more.

    Raises:
        InputError: the payload is not an audit of a version this one can read.
    """
    try:
        table = metrics["modules"]
        rows = zip(*(table[name] for name in _COLUMNS), strict=True)
        modules = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        summary = {name: metrics[name] for name in AuditSummary.__struct_fields__}
        return msgspec.convert({**metrics, "summary": summary, "modules": modules}, AuditRecord)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"cannot read the audit in a telemetry event: {error}; audit the adapter again") from error
