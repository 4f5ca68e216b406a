"""The history of a W&B run as the events of a journal: its rows from the public API, or from an offline run's file."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience.errors import InputError
from gradience.history import logged
from gradience.history.history import History, Progress
from gradience.history.logged import Point
from gradience.settings import snapshot
from gradience_wandb import recorded
from gradience_wandb.contents import STEP
from gradience_wandb.known import ROOT
from gradience_wandb.transactions import Log

TIMEOUT_S: Final = 20
_STEPS: Final = (STEP, "train/global_step", "trainer/global_step", "_step")  # the first that a row has
_STATUS: Final[Mapping[str, str]] = {"finished": "ok", "failed": "error", "crashed": "error", "killed": "aborted"}
_OWN: Final = (ROOT, "meta", "_wandb")  # of a configuration: what is no setting
_NUMBERS: Final[Mapping[str, float]] = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Row = Mapping[str, Any]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a run beside its rows."""

    origin: str
    name: str | None
    config: Mapping[str, Any]
    started: float
    ended: float | None
    status: str | None


def read(address: str, server: str | None, progress: Progress | None) -> History:
    """The run of a place here, or of a server.

    Raises:
        InputError: there is no such run, or the server does not answer.
    """
    path = Path(address)
    if path.exists():
        return _offline(path if path.is_dir() else path.parent)
    return _online(address, server, progress)


def _offline(folder: Path) -> History:
    found = recorded.whole([folder])
    if found is None:
        raise InputError(
            f"cannot import {folder}: its .wandb file tells of no run; name the directory of an offline run"
        )
    rows = list(_rows(folder))
    code = None if found.exit is None else found.exit.exit_code
    stamps = _stamps(rows)
    started = found.run.start_time.seconds + found.run.start_time.nanos / 1e9
    told = Told(
        origin=f"wandb:{found.run.entity}/{found.run.project}/{found.id}",
        name=found.run.display_name or None,
        config=_plain(found.config),
        started=started or min(stamps, default=0.0),
        ended=max(stamps, default=started),
        status=None if code is None else ("ok" if code == 0 else "aborted" if code == 130 else "error"),
    )
    return _history(told, rows)


def _rows(folder: Path) -> Iterator[Row]:
    """The rows of history; one that the end of the file tore is none."""
    for file in sorted(folder.glob("*.wandb")):
        for payload in Log(file).payloads():
            record = Record.FromString(payload)
            if record.WhichOneof("record_type") == "history":
                yield {_key(item): json.loads(item.value_json) for item in record.history.item}


def _key(item: Any) -> str:
    return ".".join(item.nested_key) or str(item.key)


def _online(address: str, server: str | None, progress: Progress | None) -> History:
    try:
        api = wandb.Api(overrides={"base_url": server} if server else {}, timeout=TIMEOUT_S)
        run = api.run(address)
        total = max(1, int(run.lastHistoryStep) + 1)
        rows = []
        for row in run.scan_history():
            rows.append(row)
            if progress is not None:
                progress(min(len(rows), total), total)
    except (wandb.errors.Error, ValueError, OSError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"cannot import wandb:{address}: {why}; check ENTITY/PROJECT/RUN and `wandb login`") from None
    stamps = _stamps(rows)
    told = Told(
        origin=f"wandb:{'/'.join(run.path)}",
        name=run.name,
        config=run.config,
        started=min(stamps, default=0.0),
        ended=max(stamps, default=0.0),
        status=_STATUS.get(run.state),
    )
    return _history(told, rows)


def _stamps(rows: Iterable[Row]) -> list[float]:
    return [stamp for row in rows if (stamp := _finite(row.get("_timestamp"))) is not None]


def _history(told: Told, rows: Iterable[Row]) -> History:
    points = [point for row in rows for point in _points(row, told.started)]
    left = sorted({point.name for point in points if logged.place(point.name) is None and not _is_axis(point.name)})
    ours = told.config.get(ROOT)
    run_id = ours.get("run_id") if isinstance(ours, Mapping) else None
    return History(
        origin=told.origin,
        run_id=run_id if isinstance(run_id, str) else None,
        events=_events(told, points),
        notes=(f"left out, as they are about the machine: {', '.join(left)}",) if left else (),
    )


def _points(row: Row, started: float) -> Iterator[Point]:
    step = next((int(number) for name in _STEPS if (number := _finite(row.get(name))) is not None), None)
    ts = _finite(row.get("_timestamp")) or started
    for name, value in row.items():
        number = _NUMBERS.get(value) if isinstance(value, str) else value
        if isinstance(number, int | float) and not isinstance(number, bool) and not _is_axis(name):
            yield Point(name, float(number), step, ts)


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _is_axis(name: str) -> bool:
    return name in _STEPS or name.startswith("_")


def _events(told: Told, points: list[Point]) -> Iterator[dict[str, Any]]:
    config = snapshot.canonical(
        {key: value for key, value in told.config.items() if key not in (ROOT, "meta", "_wandb")}
    )
    given = told.config.get("meta")
    meta = dict(given) if isinstance(given, Mapping) else {}
    meta |= {"imported_from": "wandb", "run_name": told.name}
    yield {"ts": told.started, "event": "run_start", "step": None, "config": config, "meta": meta}
    yield from logged.events(points)
    if told.status is not None and told.ended is not None:
        yield {"ts": told.ended, "event": "run_end", "step": None, "status": told.status}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """An offline run's configuration without W&B's wrapper around each value."""
    return {
        key: value["value"]
        if isinstance(value, Mapping) and set(value) <= {"value", "desc"} and "value" in value
        else value
        for key, value in config.items()
    }
