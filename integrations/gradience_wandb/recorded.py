"""Runs that were recorded offline, as their directories tell: what `wandb sync` would upload.

A run that was resumed has several directories, and their names sort by time; what they say adds up.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any, Final

import msgspec
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience_wandb.transactions import Log

log = logging.getLogger("gradience.wandb")

_LOOK: Final = 1 << 20  # bytes; a run says how it is configured before it takes many steps


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One offline run; `header`, `run` and `exit` are wandb's own records."""

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


def folders(directory: Path, run_id: str | None = None) -> list[Path]:
    """The directories of all offline runs in wandb's own, or of one, oldest first."""
    name = "*" if run_id is None else f"run-{escape(run_id)}"
    return sorted({file.parent for file in directory.glob(f"offline-run-*/{name}.wandb")})


def look(folder: Path) -> Recorded | None:
    """What a run says first: who it is, and its configuration; None where the directory tells of no run."""
    try:
        return _folded(folder, _records(folder, _LOOK))
    except Exception as broken:  # noqa: BLE001  # the directory may be anybody's
        log.debug("%s tells of no run: %s", folder, broken)
        return None


def whole(parts: Iterable[Path]) -> Recorded | None:
    """Everything that the directories of one run say; it has ended if the last of them did."""
    found: Recorded | None = None
    for folder in parts:
        found = _folded(folder, _records(folder), found) or found
    return found


def _records(folder: Path, most: int = -1) -> Iterator[Any]:
    files = sorted(folder.glob("*.wandb"))
    return map(Record.FromString, Log(files[0]).payloads(most)) if files else iter(())


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
            _change(config, record.run.config)
        elif kind == "config":
            _change(config, record.config)
        elif kind == "summary":
            _change(summary, record.summary)
        elif kind == "exit":
            end = record.exit
    if run is None:
        return None
    return Recorded(folder=folder, header=header, run=run, config=config, summary=summary, exit=end)


def _change(tree: dict[str, Any], change: Any) -> None:
    for item in change.update:
        _place(tree, item)[_path(item)[-1]] = json.loads(item.value_json)
    for item in change.remove:
        _place(tree, item).pop(_path(item)[-1], None)


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
