"""A run offline: the transaction logs in W&B's directory that carry its id, one for each time that it was begun.

Nothing else knows of an offline run, and W&B itself never resumes one: a new log goes on where the last one ended.
"""

import json
import time
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any, Final

import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience.mirror.audits import AUDIT_FILE, Audit
from gradience_wandb import artifacts, published, waiting
from gradience_wandb.core import Core
from gradience_wandb.known import NO_ROW, ROOT, Expected, Known
from gradience_wandb.transactions import Log

CONFIRM_S: Final = 20.0  # a core that has much to write on a slow disk
FLUSH_S: Final = 0.02
_LOOK_S: Final = 0.005


class Fragments:
    """One offline run by its id."""

    def __init__(self, core: Core, directory: Path, project: str, entity: str | None, run_id: str) -> None:
        self._core = core
        self._directory = directory
        self.id = run_id
        self.path = run_id
        self.url: str | None = directory.as_uri()
        settings = {"x_transaction_log_flush_interval": FLUSH_S}
        self.arguments: Mapping[str, Any] = {"entity": entity, "project": project, "settings": settings}
        self._growing: Log | None = None

    def logs(self) -> list[Path]:
        """The files, in the order in which they were begun."""
        name = escape(self.id)
        return sorted(self._directory.glob(f"offline-run-*-{name}*/run-{name}.wandb"))

    def look(self) -> Known | None:
        """The run as its files tell; None without any."""
        found = _Reading()
        logs = self.logs()
        for path in logs:
            found.begin()
            for payload in Log(path).payloads():
                found.take(Record.FromString(payload))
        return found.known() if logs else None

    def confirm(self, expected: Expected, live: Any) -> str | None:
        """Wait until what was delivered stands in the file, where the cursor comes last; why it does not, or None."""
        path = Path(live.settings.sync_file)
        if self._growing is None or self._growing.path != path:
            self._growing = Log(path)
        until = time.monotonic() + CONFIRM_S
        wanted = str(expected.position).encode()
        while not any(wanted in payload for payload in self._growing.payloads()):
            self._core.check()
            if time.monotonic() >= until:
                return f"{path} does not grow"
            time.sleep(_LOOK_S)
        return None

    def ends(self) -> bool:
        """Wait until the last of the files has an end."""
        return waiting.until(self._is_over, CONFIRM_S, _LOOK_S)

    def settle(self, made: wandb.Artifact, timeout_s: int) -> None:
        """Nothing to wait for: `wandb sync` uploads it, from where W&B keeps it meanwhile."""

    def published(self) -> list[Audit]:
        """The audits whose files are kept for `wandb sync`."""
        return published.kept(self._staged(artifacts.audit_name(self.id), AUDIT_FILE))

    def _staged(self, artifact: str, name: str) -> Iterator[Path]:
        for path in self.logs():
            for payload in Log(path).payloads():
                record = Record.FromString(payload)
                if record.artifact.name == artifact:
                    files = record.artifact.manifest.contents
                    yield from (Path(file.local_path) for file in files if file.path == name)

    def _is_over(self) -> bool:
        seen = self.look()
        return seen is not None and seen.is_over


class _Reading:
    """What the records of a run add up to."""

    def __init__(self) -> None:
        self._line = NO_ROW
        self._config: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._tags: tuple[str, ...] = ()
        self._notes = ""
        self._state: str | None = None

    def begin(self) -> None:
        self._state = None  # it goes on

    def take(self, record: Record) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "history":
            self._line = max(self._line, record.history.step.num)
        elif kind == "summary":
            _update(self._summary, record.summary.update)
        elif kind == "config":
            _update(self._config, record.config.update)
        elif kind == "run":
            _update(self._config, record.run.config.update)
            self._tags = tuple(record.run.tags) or self._tags
            self._notes = record.run.notes or self._notes
        elif kind == "exit":
            self._state = "failed" if record.exit.exit_code else "finished"

    def known(self) -> Known:
        told = self._summary.get(ROOT)
        return Known(
            line=self._line,
            config=self._config,
            told=told if isinstance(told, dict) else {},
            keys=frozenset(key for key in self._summary if key != ROOT and not key.startswith("_")),
            tags=self._tags,
            notes=self._notes,
            state=self._state,
        )


def _update(tree: dict[str, Any], items: Any) -> None:
    for path, value in _items(items):
        place = tree
        for name in path[:-1]:
            deeper = place.setdefault(name, {})
            place = deeper if isinstance(deeper, dict) else {}
        place[path[-1]] = value


def _items(items: Any) -> Iterator[tuple[list[str], Any]]:
    for item in items:
        yield ([item.key] if item.key else list(item.nested_key)) or [""], json.loads(item.value_json)
