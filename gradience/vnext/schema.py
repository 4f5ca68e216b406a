"""The JSON Schema of one telemetry line, made from the types; `schema.json` beside this file is its checked-in copy.

python -m gradience.vnext.schema > gradience/vnext/schema.json
"""

import json
import sys
from typing import Any

import msgspec

from gradience.vnext.repair import EVENTS
from gradience.vnext.types import SCHEMA, AnyEvent, ConfigSnapshot, RunEnd


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12): one of the known events, or any other event with a valid envelope."""
    (lines, _), parts = msgspec.json.schema_components((AnyEvent, ConfigSnapshot), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": SCHEMA,
        "description": "One line of a telemetry file. Keys that are not named here are allowed everywhere.",
        "anyOf": [*lines["anyOf"], {"$ref": "#/$defs/OtherEvent"}],
        "$defs": dict(sorted((parts | {"OtherEvent": _other_event(parts[RunEnd.__name__])}).items())),
    }


def _other_event(known: dict[str, Any]) -> dict[str, Any]:
    """An event of another name: the envelope of a known one."""
    envelope = {key: known["properties"][key] for key in ("schema", "ts", "run_id", "step", "nonfinite")}
    return {
        "title": "OtherEvent",
        "description": "An event that this version does not name.",
        "type": "object",
        "properties": envelope | {"event": {"type": "string", "not": {"enum": sorted(EVENTS)}}},
        "required": ["event", "schema", "ts", "run_id"],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
