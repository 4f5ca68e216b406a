"""A run on a server, read back through W&B's public API: nothing else tells what has arrived."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import wandb

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.audits import AUDIT_FILE, Audit
from gradience_wandb import artifacts, faults, published, waiting
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.known import NO_ROW, ROOT, Expected, Known

CONFIRM_S: Final = 20.0  # a transmission, some answers that get lost, and W&B's own delay of a config
END_S: Final = 5.0  # wandb has waited for the last transmission by then
TRANSMIT_S: Final = 2.0  # between two transmissions of a run; W&B counts requests by key
_LOOK_S: Final = 0.5
_SOON_S: Final = 0.1  # after a transmission its answer is there
_FATAL: Final = re.compile(rb"filestream: fatal error: [^\n]*?upload: (\d{3})[^\n]*")
_LOG: Final = "logs/debug-internal.log"  # of a run's folder: where its core says that it stopped uploading


class Remote:
    """One run by its place, whether it is there or not."""

    def __init__(self, core: Core, entity: str, project: str, run_id: str) -> None:
        self._core = core
        self.id = run_id
        self.path = f"{entity}/{project}/{run_id}"
        self.url: str | None = f"{core.page}/{entity}/{project}/runs/{run_id}"
        settings = {"x_file_stream_transmit_interval": TRANSMIT_S}
        self.arguments: Mapping[str, Any] = {"entity": entity, "project": project, "settings": settings}
        self._was_there = False

    def look(self) -> Known | None:
        """The run as it is; None when the server has none of this path.

        Raises:
            TargetGoneError: it had one.
        """
        found = self._fetch()
        if found is None and self._was_there:
            raise TargetGoneError(f"W&B run {self.path} was deleted: name another with --run.")
        self._was_there = found is not None
        if found is None:
            return None
        return msgspec.structs.replace(
            known(found), has_files=_has_files(found, artifacts.tables(found.summary_metrics))
        )

    def confirm(self, expected: Expected, live: Any) -> str | None:
        """Wait until the server gives back what was delivered; why it did not in time, or None.

        Raises:
            SinkError: the core has given up the run.
        """
        until = time.monotonic() + CONFIRM_S
        pause = (live.settings.x_file_stream_transmit_interval or TRANSMIT_S) + _SOON_S
        while True:
            time.sleep(pause)
            pause = _LOOK_S
            self._core.check()  # a new one would know of nothing that is to be sent
            if (why := self._lacks(expected)) is None:
                return None
            _raise_fatal(self.path, Path(live.settings.sync_dir) / _LOG)
            if time.monotonic() >= until:
                return why

    def ends(self) -> bool:
        """Wait until the server says that the run ended."""
        return waiting.until(self._is_over, END_S, _LOOK_S)

    def settle(self, made: wandb.Artifact, timeout_s: int) -> None:
        """Wait until an artifact is on the server."""
        made.wait(timeout=timeout_s)

    def published(self) -> list[Audit]:
        """The audit whose files the run has."""
        name = f"{self.path.rpartition('/')[0]}/{artifacts.audit_name(self.id)}:latest"
        return published.fetched(lambda: self._core.api().artifact(name).files(names=[AUDIT_FILE]))

    def _is_over(self) -> bool:
        seen = self.look()
        return seen is not None and seen.is_over

    def _lacks(self, expected: Expected) -> str | None:
        """Why the server does not give it back; one that does not answer may do so soon."""
        try:
            with translated("asking what has arrived"):
                found = self._fetch()
                is_met = found is not None and expected.is_met(known(found)) and _has_files(found, expected.files)
        except UnavailableError as error:
            return str(error)
        return None if is_met else "the server does not show them"

    def _fetch(self) -> Any:
        api = self._core.api()
        api._runs.pop(self.path, None)  # it keeps what it has read once
        try:
            return api.run(self.path)
        except (wandb.errors.CommError, ValueError) as error:
            if "Could not find run" in str(error):
                return None
            raise


def known(found: Any) -> Known:
    """What a run of the public API tells."""
    summary = found.summary_metrics
    told = summary.get(ROOT)
    line = found.lastHistoryStep
    return Known(
        line=NO_ROW if line is None else int(line),
        config=json.loads(json.dumps(dict(found.config), default=str)),
        told=dict(told) if isinstance(told, Mapping) else {},
        keys=frozenset(key for key in summary if key != ROOT and not key.startswith("_")),
        tags=tuple(found.tags or ()),
        notes=found.notes or "",
        state=found.state,
    )


def _has_files(found: Any, names: tuple[str, ...]) -> bool:
    return not names or {file.name for file in found.files(names=list(names)) if file.size} >= set(names)


def _raise_fatal(path: str, log: Path) -> None:
    """Say why the core has stopped uploading, if it has: it goes on taking rows as if nothing had happened."""
    try:
        said = log.read_bytes()
    except OSError:
        return
    if found := _FATAL.search(said):
        status = found[1].decode()
        kind = faults.of_status(status)
        mend = ": log in again, or look whether the run is still there" if kind is TargetGoneError else ""
        raise kind(f"W&B refused rows of run {path} with status {status}{mend}.")
