"""One event to one line of strict JSON, and back.

Encoding never raises on what it is given, but for a text that the policy refuses. Decoding takes the fast, typed road
first; what that refuses goes to `repair`.
"""

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, Final

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import nonfinite, privacy, repair
from gradience.vnext.plain import Plain
from gradience.vnext.types import ENVELOPE, SCHEMA, Alert, AnyEvent, UnknownEvent

typed: Final[Callable[[bytes], AnyEvent]] = msgspec.json.Decoder(AnyEvent).decode
"""The fast road of `decode`, for loops: it raises one of REFUSED, and leaves non-finite numbers as null."""
REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
RESERVED: Final = (*ENVELOPE, nonfinite.SIDE_FIELD)

_KNOWN_KEYS_MAX: Final = 4096  # keys that a run invents per step must not grow the memory
_INT64: Final = 2**63

_dumps: Final = msgspec.json.Encoder().encode
_loads: Final = msgspec.json.Decoder().decode


class Encoder:
    """Encodes the events of one writer; `redacted` and `renamed` count what its policy and the envelope changed."""

    def __init__(self, policy: privacy.Policy = privacy.DEFAULT) -> None:
        self.redacted = 0
        self.renamed = 0
        self._policy = policy
        self._harmless: set[str] = set()  # keys seen before that are kept as they are

    def event(self, ts: float, run_id: str, event: str, step: Any, payload: dict[str, Any]) -> bytes:
        """One line with its newline. The envelope's values are taken as they are; the payload may hold anything."""
        if (step is None or (type(step) is int and 0 <= step < _INT64)) and self._is_plain(payload):
            fields = {"schema": SCHEMA, "ts": ts, "run_id": run_id, "event": event, "step": step, **payload}
            return _dumps(fields) + b"\n"
        fields = {"schema": SCHEMA, "ts": ts, "run_id": run_id, "event": event}
        return self._cleaned(fields, step, payload)

    def _is_plain(self, payload: dict[str, Any]) -> bool:
        """Whether every value is a finite number, a boolean or null under a key known to be harmless."""
        harmless = self._harmless
        for key, value in payload.items():
            if key not in harmless:
                return False
            kind = type(value)
            if kind is float:
                if not isfinite(value):
                    return False
            elif kind is int:
                if not -_INT64 <= value < _INT64:
                    return False
            elif kind is not bool and value is not None:
                return False
        return True

    def _cleaned(self, fields: dict[str, Any], step: Any, payload: dict[str, Any]) -> bytes:
        plain = Plain(self._policy)
        fields["step"] = _step(plain.value(step, "/step"))
        if fields["step"] is None and step is not None:
            payload = {"step": step, **payload}  # reserved: lands under `step_`
        plain.nonfinite.clear()
        fields.update(plain.mapping(payload, reserved=RESERVED))
        if plain.nonfinite:
            fields[nonfinite.SIDE_FIELD] = plain.nonfinite
        self.redacted += plain.redacted
        self.renamed += plain.renamed
        self._learn(key for key in payload if key in fields and key not in RESERVED)
        return _dumps(fields) + b"\n"

    def _learn(self, keys: Iterable[Any]) -> None:
        if len(self._harmless) < _KNOWN_KEYS_MAX:
            self._harmless.update(key for key in keys if type(key) is str and not privacy.is_secret(key, 0))


def encode(fields: dict[str, Any]) -> bytes:
    """One whole event, envelope included, as a line with its newline, under the default policy."""
    plain = Plain()
    out = plain.mapping(fields, reserved=(nonfinite.SIDE_FIELD,))
    if plain.nonfinite:
        out[nonfinite.SIDE_FIELD] = plain.nonfinite
    return _dumps(out) + b"\n"


def decode(line: bytes, problems: list[str] | None = None) -> AnyEvent | UnknownEvent:
    """The event of one line; what had to be mended in it is added to `problems`.

    Raises:
        TelemetryError: The line is no telemetry.
    """
    try:
        event = typed(line)
        if event.nonfinite is not None:
            restored: AnyEvent = msgspec.convert(decode_mapping(line), AnyEvent)
            return restored
        has_context = type(event) is not Alert or event.context or b'"metadata"' not in line
        if has_context and (line.isascii() or line.decode()):  # bytes that are no UTF-8 are told
            return event
    except REFUSED:
        pass
    return repair.event(line, [] if problems is None else problems)


def decode_mapping(line: bytes) -> dict[str, Any]:
    """Every key of the line as written, with non-finite numbers restored.

    Raises:
        TelemetryError: The line is not a JSON object.
    """
    try:
        fields = _loads(line)
    except REFUSED:
        return repair.mapping(line, [])
    if not isinstance(fields, dict):
        raise TelemetryError("not a JSON object")
    nonfinite.restore(fields)
    return fields


def _step(given: Any) -> int | None:
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return given if type(given) is int and 0 <= given < _INT64 else None
