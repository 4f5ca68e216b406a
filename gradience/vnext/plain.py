"""Any Python object as plain JSON values; nothing here raises, but for a text that the policy refuses.

An object is never asked for its `str` or `repr`, which may hold anything: what is not known becomes its type's name.
numpy and torch are recognised by what their objects can do, so that neither is imported.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import msgspec

from gradience.errors import TextViolationError
from gradience.vnext import nonfinite, privacy

MAX_DEPTH: Final = 32  # deeper than any record of ours, far from the interpreter's own limit
MAX_VALUES: Final = 1_000_000  # an audit of 10,000 modules in 40 columns has half of it
MAX_ARRAY: Final = 64  # elements; a longer array is data, not telemetry

_BIGGEST: Final = 2**63  # integers outside 64 bits break columnar readers: they become floats
# Settings that say more than their type's name and whose `str` is safe.
_NAMED: Final = {("torch", "dtype"), ("torch", "device"), ("numpy", "dtype")}
_NAMESPACES: Final = {("argparse", "Namespace"), ("types", "SimpleNamespace")}


class Plain:
    """One conversion: the values that come out, and what had to be noted on the way.

    `nonfinite` maps JSON Pointers to "NaN", "Infinity" or "-Infinity" where null now stands; `redacted` counts the
    texts and secrets that were left out, `renamed` the keys that had to give way to another one.
    """

    def __init__(self, policy: privacy.Policy = privacy.DEFAULT) -> None:
        self.nonfinite: dict[str, str] = {}
        self.redacted = 0
        self.renamed = 0
        self._policy = policy
        self._left = MAX_VALUES
        self._above: set[int] = set()  # identities of the containers being converted: a cycle meets one of them

    def mapping(self, given: Mapping[Any, Any], pointer: str = "", reserved: Iterable[str] = ()) -> dict[str, Any]:
        """A mapping with plain values; a key that is reserved or taken gets a trailing underscore."""
        out: dict[str, Any] = {}
        taken = set(reserved)
        for raw, value in given.items():
            plain = self._key(raw, pointer)
            key = plain
            while key in taken:
                key += "_"
            self.renamed += key != plain
            taken.add(key)
            out[key] = self._member(
                str.__str__(raw) if isinstance(raw, str) else key, value, nonfinite.below(pointer, key)
            )
        return out

    def value(self, given: Any, pointer: str) -> Any:
        """One value made plain."""
        self._left -= 1
        if self._left < 0:
            return "[TRUNCATED]"
        convert = _EXACT.get(type(given), Plain._odd)
        try:
            return convert(self, given, pointer)
        except TextViolationError:
            raise
        except Exception:  # noqa: BLE001 - a user's object may raise anything; training must not hear of it
            return type(given).__name__

    def _member(self, key: str, value: Any, pointer: str) -> Any:
        if key and privacy.is_secret(key, value):
            self.redacted += 1
            return privacy.MASK
        return self.value(value, pointer)

    def _key(self, given: Any, pointer: str) -> str:
        if isinstance(given, Enum):
            given = given.value
        if not isinstance(given, (str, int, float)):
            given = "null" if given is None else self.value(given, pointer)
        if isinstance(given, int) and abs(given) >= _BIGGEST:
            given = "int"
        return self._text(given if isinstance(given, str) else str(given), pointer)

    def _odd(self, given: Any, pointer: str) -> Any:
        for kinds, convert in _KINDS:
            if isinstance(given, kinds):
                return convert(self, given, pointer)
        if is_dataclass(given) and not isinstance(given, type):
            members = {field.name: getattr(given, field.name, None) for field in dataclass_fields(given)}
            return self._container(members, pointer, given)
        if isinstance(given, type):
            return given.__name__
        if _names(given) & _NAMED:
            return str(given)
        if _names(given) & _NAMESPACES:
            return self._container(vars(given), pointer, given)
        if hasattr(given, "shape") and hasattr(given, "dtype"):
            return self._array(given, pointer)
        return type(given).__name__

    def _text(self, given: str, pointer: str) -> str:
        out = privacy.clean(str.__str__(given), self._policy, pointer)
        self.redacted += out.startswith("[REDACTED") or privacy.MASK in out
        return out

    def _integer(self, given: int, pointer: str) -> int | float | str | None:
        if -_BIGGEST <= given < _BIGGEST:
            return int(given)
        return self._float(float(given), pointer) if given.bit_length() < 1024 else f"[INT bits={given.bit_length()}]"

    def _float(self, given: float, pointer: str) -> float | None:
        number = float(given)
        if math.isfinite(number):
            return number
        self.nonfinite[pointer] = nonfinite.name(number)
        return None

    def _container(self, given: Any, pointer: str, owner: Any = None) -> Any:
        """A mapping or an iterable; `owner` is the object that it was made from."""
        identity = id(given if owner is None else owner)
        if identity in self._above:
            return "[CYCLE]"
        if len(self._above) >= MAX_DEPTH:
            return "[DEPTH]"
        self._above.add(identity)
        try:
            return self.mapping(given, pointer) if isinstance(given, Mapping) else self._list(given, pointer)
        finally:
            self._above.discard(identity)

    def _list(self, given: Iterable[Any], pointer: str) -> list[Any]:
        out: list[Any] = []
        flag = ""
        for index, value in enumerate(given):
            if self._left < 0:
                break
            out.append(self._member(flag, value, f"{pointer}/{index}"))
            # The value of a command-line flag such as --hub_token is the argument after it.
            flag = value if isinstance(value, str) and value.startswith("--") else ""
        return out

    def _array(self, given: Any, pointer: str) -> Any:
        """A scalar, a short list, or a mark; by the protocol that numpy, torch and their relatives share."""
        if not isinstance(given.shape, tuple):
            return type(given).__name__
        if math.prod(given.shape) == 1:
            item = given.item()
            return float(item) if type(item) is type(given) else self.value(item, pointer)
        if math.prod(given.shape) <= MAX_ARRAY:
            return self.value(given.tolist(), pointer)
        return f"[ARRAY shape={'x'.join(str(int(size)) for size in given.shape)}]"


def is_object(given: Any) -> bool:
    """Whether a value becomes a JSON object: a mapping, a record, a namespace."""
    if isinstance(given, (Mapping, msgspec.Struct)):
        return True
    return not isinstance(given, type) and (is_dataclass(given) or bool(_names(given) & _NAMESPACES))


def _names(given: Any) -> set[tuple[str, str]]:
    return {(kind.__module__, kind.__name__) for kind in type(given).__mro__}


def _same(_walk: Plain, given: Any, _pointer: str) -> Any:
    return given


def _struct(walk: Plain, given: msgspec.Struct, pointer: str) -> Any:
    return walk._container(msgspec.structs.asdict(given), pointer, given)


_Convert = Callable[[Plain, Any, str], Any]

_EXACT: Final[dict[type, _Convert]] = {
    type(None): _same,
    bool: _same,
    float: Plain._float,
    int: Plain._integer,
    str: Plain._text,
    dict: Plain._container,
    list: Plain._container,
    tuple: Plain._container,
}

_KINDS: Final[tuple[tuple[Any, _Convert], ...]] = (
    (Enum, lambda walk, given, pointer: walk.value(given.value, pointer)),
    (str, Plain._text),
    (int, Plain._integer),
    (float, Plain._float),
    (PurePath, lambda walk, given, pointer: walk.value(str(given), pointer)),
    ((bytes, bytearray, memoryview), lambda _walk, given, _pointer: f"[BYTES len={len(given)}]"),
    (msgspec.Struct, _struct),
    ((Mapping, Sequence, Set), Plain._container),
    ((datetime, date, time), lambda _walk, given, _pointer: given.isoformat()),
    (timedelta, lambda walk, given, pointer: walk.value(given.total_seconds(), pointer)),
    ((Decimal, Fraction), lambda walk, given, pointer: walk.value(float(given), pointer)),
    (UUID, lambda _walk, given, _pointer: str(given)),
)
