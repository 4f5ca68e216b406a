"""Requests that MLflow takes: pure functions over plain records.

The limits are those of the servers (`mlflow/utils/validation.py`), not of the client, which would cut silently.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

PARAM: Final = 6000  # characters of a param's value
TAG: Final = 8000  # characters of a tag's value
_MOST: Final = {"metrics": 1000, "params": 100, "tags": 100}
_NAMES: Final = 100  # distinct metrics in one request: older sqlite stores fail to deduplicate a replay of more
_ITEMS: Final = 1000
_BYTES: Final = 900_000  # of the 1,000,000 that a server takes; the rest is for braces and field names
_ROW: Final = 100  # bytes of one metric's numbers and their field names


class Metric(NamedTuple):
    """One row of a metric's history; `ts` is Unix milliseconds."""

    key: str
    value: float
    ts: int
    step: int


class Request(msgspec.Struct):
    """What goes to MLflow in one call, and is taken or refused as one."""

    metrics: list[Metric] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


def text(value: object, limit: int) -> str:
    """A value as MLflow stores it: valid Unicode without NUL, and a visible cut when it is too long."""
    plain = str(value).encode("utf-8", "replace").decode().replace("\x00", "")
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def milliseconds(ts: float) -> int:
    """MLflow's time of ours; one fixed rule, because a row is told from its replay by its time."""
    return round(ts * 1000)


def requests(metrics: Iterable[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[Request]:
    """As few requests as the limits allow, in the order params, metrics, tags: the last tag is in the last one.

    Of many names the rows of a hundred stand together: line by line, each line would be some requests of its own.
    """
    filling = _Filling()
    for key, value in params.items():
        yield from filling.room("params", key, _quoted(key) + _quoted(value))
        filling.request.params[key] = value
    sizes: dict[str, int] = {}  # few keys, many rows
    for metric in _by_names(dict.fromkeys(metrics)):
        size = sizes.get(metric.key) or sizes.setdefault(metric.key, _quoted(metric.key) + _ROW)
        yield from filling.room("metrics", metric.key, size)
        filling.request.metrics.append(metric)
    for key, value in tags.items():
        yield from filling.room("tags", key, _quoted(key) + _quoted(value))
        filling.request.tags[key] = value
    yield filling.request


def _by_names(metrics: Iterable[Metric]) -> list[Metric]:
    """In their order, as far as one request can hold their names."""
    rows = list(metrics)
    places: dict[str, int] = {}
    for row in rows:
        places.setdefault(row.key, len(places) // _NAMES)
    return sorted(rows, key=lambda row: places[row.key]) if len(places) > _NAMES else rows


def _quoted(text: str) -> int:
    return len(json.dumps(text))


class _Filling:
    """The request being filled."""

    def __init__(self) -> None:
        self._start()

    def room(self, kind: str, key: str, size: int) -> Iterator[Request]:
        """Make room for one more item; yields the request that had none left."""
        if self._full(kind, key, size):
            yield self.request
            self._start()
        self._items += 1
        self._bytes += size
        if kind == "metrics":
            self._names.add(key)

    def _start(self) -> None:
        self.request = Request()
        self._items = 0
        self._bytes = 0
        self._names: set[str] = set()

    def _full(self, kind: str, key: str, size: int) -> bool:
        crowded = kind == "metrics" and key not in self._names and len(self._names) >= _NAMES
        listed = len(getattr(self.request, kind)) >= _MOST[kind]
        return crowded or listed or self._items >= _ITEMS or self._bytes + size > _BYTES
