"""The JSON Schema of a sink list, for editors, made from the types; `schema.json` beside this file is its copy.

python -m gradience.mirror.config.schema > gradience/mirror/config/schema.json
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gradience.mirror import registry
from gradience.mirror.config.options import Option, Options
from gradience.mirror.sink import Sink
from gradience.mirror.wish import Wish
from gradience.vnext.repair import EVENTS

OURS: Final = "gradience"  # the distribution whose sinks the copy knows
_NOT_WRITTEN: Final = ("made", "source", "variables")
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}


def json_schema(sinks: Mapping[str, Callable[..., Sink]]) -> dict[str, Any]:
    """The schema (draft 2020-12) of a list, or of a larger file with `sinks`; the options are those of `sinks`."""
    common = {key: value for key, value in _properties(Wish).items() if key not in _NOT_WRITTEN}
    common["type"] = {**common["type"], "anyOf": [{"enum": list(sinks)}, {"type": "string"}]}
    common["events"] = {**common["events"], "items": {"enum": list(EVENTS)}}
    entry = {
        "type": "object",
        "properties": common,
        "required": ["type"],
        "allOf": [_options(name, factory, list(common)) for name, factory in sinks.items()],
    }
    whole = {"type": "object", "properties": {"sinks": {"$ref": "#/$defs/List"}}, "required": ["sinks"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:gradience:sinks",
        "title": "Gradience: a list of sinks",
        "description": "A list, or a file with a key `sinks`. ${VAR} and ${VAR:-default} may stand in every value.",
        "anyOf": [{"$ref": "#/$defs/List"}, whole],
        "$defs": {
            "List": {"type": ["array", "null"], "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Entry"}]}},
            "Entry": entry,
        },
    }


def _properties(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Of a struct whose fields stand for themselves; their defaults are ours, and no advice to anybody."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name not in _NOT_WRITTEN}
    return {name: _value(msgspec.json.schema(hint)) for name, hint in fields.items()}


def _options(name: str, factory: Callable[..., Sink], common: list[str]) -> dict[str, Any]:
    """What an entry of this type may have, in the entry itself or under `options`."""
    options = Options.of(factory)
    told = _told(factory)
    found = {key: _option(one, told.get(key)) for key, one in options.named.items()}
    listed = {"type": ["object", "null"], "properties": found, "additionalProperties": options.is_open}
    here = {**found, **dict.fromkeys(common, True), "options": listed}
    return {
        "if": {"properties": {"type": {"const": name}}},
        "then": {"properties": here, "additionalProperties": options.is_open},
    }


def _option(option: Option, told: str | None) -> dict[str, Any]:
    schema = {} if option.kind is Any else _value(msgspec.json.schema(option.kind))
    return {**schema, "description": told} if told else schema


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    """A value as a file may have it: also as a variable, or left empty."""
    described = {key: schema.pop(key) for key in ("description",) if key in schema}
    choices = schema.get("anyOf", [schema])
    for choice in choices:
        described |= {key: choice.pop(key) for key in ("description",) if key in choice}
    types = {choice.get("type") for choice in choices}
    empty = [] if "null" in types else [{"type": "null"}]
    return {**described, "anyOf": [*choices, *empty, *([] if "string" in types else [_VARIABLE])]}


def _told(factory: Callable[..., Sink]) -> dict[str, str]:
    """What the docstring of a sink says about its options."""
    _, _, arguments = (inspect.getdoc(factory) or "").partition("Args:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", arguments.partition("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


if __name__ == "__main__":
    ours = {one.name: registry.find(one.value) for one in registry.installed() if one.distribution == OURS}
    sys.stdout.write(json.dumps(json_schema(ours), indent=2) + "\n")
