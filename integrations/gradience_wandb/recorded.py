"""Runs that were recorded offline, as their directories tell: what `wandb sync` would upload.

A run that was resumed has several directories, and their names sort by time; what they say adds up.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience_wandb.transactions import Log

_LOOK: Final = 200  # records; a run says how it is configured before it takes many steps


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One offline run; `header`, `run` and `exit` are wandb's own records, and `summary` has its leaves as raw JSON."""

    folder: Path
    header: Any
    run: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    exit: Any = None

    @property
    def id(self) -> str:
        """As W&B calls it."""
        return str(self.run.run_id)

    def told(self, key: str) -> dict[str, Any]:
        """A part of the summary, as values."""
        found = self.summary.get(key)
        return dict(msgspec.json.decode(msgspec.json.encode(found))) if isinstance(found, dict) else {}


def folders(directory: Path) -> list[Path]:
    """The directories of offline runs in wandb's own, oldest first."""
    return sorted(folder for folder in directory.glob("offline-run-*") if folder.is_dir())


def look(folder: Path) -> Recorded | None:
    """What a run says first: who it is, and its configuration; None where the directory tells of no run."""
    return _folded(folder, _records(folder, _LOOK))


def whole(parts: Iterable[Path]) -> Recorded | None:
    """Everything that the directories of one run say; it has ended if the last of them did."""
    found: Recorded | None = None
    for folder in parts:
        found = _folded(folder, _records(folder), found) or found
    return found


def _records(folder: Path, limit: int | None = None) -> Iterator[Any]:
    files = sorted(folder.glob("*.wandb"))
    payloads = Log(files[0]).payloads() if files else iter(())
    return map(Record.FromString, islice(payloads, limit))


def _folded(folder: Path, records: Iterable[Any], before: Recorded | None = None) -> Recorded | None:
    header = run = end = None
    config = before.config if before else {}
    summary = before.summary if before else {}
    for record in records:
        kind = record.WhichOneof("record_type")
        if kind == "header":
            header = record
        elif kind == "run":
            run = record.run
            _configure(config, record.run.config)
        elif kind == "config":
            _configure(config, record.config)
        elif kind == "summary":
            _sum_up(summary, record.summary)
        elif kind == "exit":
            end = record.exit
    if run is None:
        return None
    return Recorded(folder=folder, header=header, run=run, config=config, summary=summary, exit=end)


def _configure(config: dict[str, Any], change: Any) -> None:
    for item in change.update:
        _place(config, item)[_path(item)[-1]] = json.loads(item.value_json)
    for item in change.remove:
        _place(config, item).pop(_path(item)[-1], None)


def _sum_up(summary: dict[str, Any], change: Any) -> None:
    for item in change.update:
        _place(summary, item)[_path(item)[-1]] = Raw(item.value_json.encode())
    for item in change.remove:
        _place(summary, item).pop(_path(item)[-1], None)


def _place(tree: dict[str, Any], item: Any) -> dict[str, Any]:
    """The mapping that holds an item; what is in the way gives way."""
    for key in _path(item)[:-1]:
        below = tree.get(key)
        if not isinstance(below, dict):
            below = tree[key] = {}
        tree = below
    return tree


def _path(item: Any) -> tuple[str, ...]:
    return tuple(item.nested_key) or (item.key,)
