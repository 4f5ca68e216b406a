"""The slow road into a line: what strict, typed decoding refuses, read as far as it can be.

Bare NaN of the public releases, numbers written as text, wrong types, bytes that are no UTF-8, a torn line that the
next one was glued to. Every liberty that is taken is told as a problem.
"""

import json
import math
from typing import Any, Final

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import nonfinite
from gradience.vnext.types import (
    SCHEMA,
    Alert,
    AnyEvent,
    Eval,
    Event,
    Metrics,
    Recommendation,
    RecommendationEvent,
    RunEnd,
    RunStart,
    Severity,
    Step,
    TrainStep,
    UnknownEvent,
)

EVENTS: Final = {kind.name: kind for kind in (RunStart, TrainStep, Eval, Metrics, Alert, RecommendationEvent, RunEnd)}

_REQUIRED: Final[dict[str, Any]] = {"ts": float, "run_id": str, "event": str}
_FIELDS: Final = {
    kind: [field for field in msgspec.structs.fields(kind) if field.name not in Event.__struct_fields__]
    for kind in EVENTS.values()
}
_ABSENT: Final[dict[str, Any]] = {
    "config": {},
    "split": "unknown",
    "metrics": {},
    "kind": "unknown",
    "severity": Severity.INFO,
    "code": "",
    "message": "",
    "recommendations": [],
    "status": "unknown",
}
_SEVERITIES: Final = {"warn": Severity.WARNING, "fatal": Severity.CRITICAL} | {level.value: level for level in Severity}


def event(line: bytes, problems: list[str]) -> AnyEvent | UnknownEvent:
    """The line's event, with what had to be mended added to `problems`.

    Raises:
        TelemetryError: The line is no telemetry: not a JSON object, another schema, or without its envelope.
    """
    fields = mapping(line, problems)
    if fields.get("schema") != SCHEMA:
        raise TelemetryError(f"schema is {_show(fields.get('schema'))}, not {SCHEMA}")
    envelope = _envelope(fields, problems)
    kind = EVENTS.get(envelope["event"])
    if kind is None:
        return UnknownEvent(**envelope)
    name = envelope.pop("event")
    payload = _payload(kind, fields, problems)
    if name == Alert.name and not payload.get("context") and isinstance(fields.get("metadata"), dict):
        payload["context"] = fields["metadata"]  # an older writer's name for it
    made: AnyEvent = kind(schema=SCHEMA, **envelope, **payload)
    return made


def mapping(line: bytes, problems: list[str]) -> dict[str, Any]:
    """Every key of the line, non-finite numbers restored.

    Raises:
        TelemetryError: The line is not a JSON object.
    """
    fields = _parse(_text(line, problems), problems)
    if not isinstance(fields, dict):
        raise TelemetryError("not a JSON object")
    nonfinite.restore(fields)
    found = dict(nonfinite.find(fields))
    if found:
        fields[nonfinite.SIDE_FIELD] = found
    return fields


def severity(given: Any) -> Severity | None:
    """A severity from any common spelling of it; None when it is none."""
    return _SEVERITIES.get(given.lower()) if isinstance(given, str) else None


def _text(line: bytes, problems: list[str]) -> str:
    if b"\0" in line:
        problems.append(f"{line.count(0)} NUL bytes")
        line = line.replace(b"\0", b"")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(f"not UTF-8 at byte {error.start}")
        return line.decode("utf-8-sig", "replace")


def _parse(text: str, problems: list[str]) -> Any:
    try:
        return _loads(text)
    except (ValueError, RecursionError) as error:
        glued = text.rfind('{"schema"')
        if glued > 0 and not isinstance(error, RecursionError):
            problems.append("a torn line stands before this one")
            return _parse(text[glued:], problems)
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not JSON"
        raise TelemetryError(f"{reason}: {_show(text.strip())}") from None


def _loads(text: str) -> Any:
    value = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))
    return _without_surrogates(value) if "\\ud" in text.lower() else value


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(member) for key, member in value.items()}
    return [_without_surrogates(member) for member in value] if isinstance(value, list) else value


def _envelope(fields: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    envelope: dict[str, Any] = {key: _required(fields, key, kind, problems) for key, kind in _REQUIRED.items()}
    step = _converted("step", fields.get("step"), Step | None, problems)
    envelope["step"] = None if step is msgspec.UNSET else step
    found = fields.get(nonfinite.SIDE_FIELD)
    if isinstance(found, dict) and all(isinstance(spelling, str) for spelling in found.values()):
        envelope[nonfinite.SIDE_FIELD] = found
    return envelope


def _required(fields: dict[str, Any], key: str, kind: Any, problems: list[str]) -> Any:
    if fields.get(key) in (None, ""):
        raise TelemetryError(f"no {key}")
    value = _converted(key, fields[key], kind, problems)
    if value is msgspec.UNSET or (isinstance(value, float) and not math.isfinite(value)):
        raise TelemetryError(f"{key} is {_show(fields[key])}")
    return value


def _payload(kind: Any, fields: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The fields of the event's type; one that cannot be read is left to its default."""
    payload: dict[str, Any] = {}
    for field in _FIELDS[kind]:
        value = (
            _converted(field.name, fields[field.name], field.type, problems) if field.name in fields else msgspec.UNSET
        )
        if value is not msgspec.UNSET:
            payload[field.name] = value
        elif field.required:
            payload[field.name] = _ABSENT[field.name]
            problems.extend([] if field.name in fields else [f"no {field.name}"])
    return payload


def _converted(key: str, value: Any, kind: Any, problems: list[str]) -> Any:
    """The value as the kind asks, else as goodwill reads it, else UNSET; the last two are problems."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problems.append(f"{key} is {_show(value)}: {error}")
    try:
        return _with_goodwill(value, kind)
    except (msgspec.ValidationError, ValueError):
        return msgspec.UNSET


def _with_goodwill(value: Any, kind: Any) -> Any:
    if kind is Severity:
        return severity(value) or msgspec.UNSET
    if kind == list[Recommendation] and isinstance(value, list):
        return [
            item for item in (_converted("", item, Recommendation, []) for item in value) if item is not msgspec.UNSET
        ]
    return msgspec.convert(value, kind, strict=False)


def _show(value: Any) -> str:
    shown = ascii(value[:100] if isinstance(value, str) else value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
