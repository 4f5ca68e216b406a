"""The JSON Schema of an audit's document, made from the types; `audit_schema.json` beside this file is its copy.

python -m gradience.policy.audit_schema > gradience/policy/audit_schema.json
"""

import json
import sys
from typing import Any, Final

import msgspec

from gradience.audit import columns
from gradience.audit.record import AUDIT_VERSION, AuditRecord, AuditSummary, ModuleAudit, NamedGroup
from gradience.policy.audit_event import (
    DOCUMENT_SCHEMA,
    AdviceFields,
    CandidateColumns,
    LayerData,
    SuggestedRanks,
)
from gradience.policy.module_ranks import ModuleRanks

_MERGED: Final = (AuditSummary, AuditRecord, SuggestedRanks, CandidateColumns)  # their fields stand at the top level
_REFERRED: Final = (ModuleAudit, NamedGroup, AdviceFields, LayerData, ModuleRanks)


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of `gradience audit --json`, and of the artifact `audit.json` in a tracker."""
    _, parts = msgspec.json.schema_components((*_MERGED, *_REFERRED), ref_template="#/$defs/{name}")
    merged = [parts.pop(kind.__name__) for kind in _MERGED]
    properties = {key: value for part in merged for key, value in part["properties"].items()}
    required = {key for part in merged for key in part["required"]} - {"summary", "modules"}
    tables = {name: _table(parts[kind.__name__]) for name, kind in columns.TABLES.items()}
    del properties["summary"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{DOCUMENT_SCHEMA.replace('/', ':')}",
        "title": DOCUMENT_SCHEMA,
        "description": f"An audit of version {AUDIT_VERSION}. Keys that are not named here are allowed everywhere.",
        "type": "object",
        "properties": _frame() | properties | tables,
        "required": ["schema", "audit_version", *sorted(required)],
        "$defs": dict(sorted((name, part) for name, part in parts.items() if name != ModuleAudit.__name__)),
    }


def _frame() -> dict[str, Any]:
    """What stands around the record: where it was read and kept, the advice, and what was asked for beside it."""
    advice, layers, ranks = ({"$ref": f"#/$defs/{kind.__name__}"} for kind in (AdviceFields, LayerData, ModuleRanks))
    return {
        "schema": {"const": DOCUMENT_SCHEMA},
        **{name: {"type": "string"} for name in ("peft_dir", "adapter_config_path", "adapter_weights_path")},
        "advice": {"anyOf": [advice, {"type": "null"}]},
        "layer_data": layers,
        "module_ranks": {"anyOf": [ranks, {"type": "null"}]},
        "journal": {"type": "string"},
        "run_id": {"type": "string"},
        "added": {"type": "boolean"},
        "trackers": {"type": "array", "items": {"type": "object"}},
    }


def _table(row: dict[str, Any]) -> dict[str, Any]:
    """Rows as the command prints them, or the columns of an event, which has no singular values."""
    values = {key: value for key, value in row["properties"].items() if key != columns.LEFT_OUT}
    lists = {key: {"type": "array", "items": value} for key, value in values.items()}
    as_columns = {"type": "object", "properties": lists, "required": ["name"]}
    return {"anyOf": [{"type": "array", "items": row}, as_columns]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
