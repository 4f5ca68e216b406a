"""The files of a run: the artifact with those of its audits, that with the journal, and the modules' table."""

import logging
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import wandb

from gradience.mirror import artifacts, travel
from gradience.mirror.audits import Publication
from gradience.mirror.sink import Batch
from gradience_wandb.contents import TABLE

log = logging.getLogger("gradience.wandb")

_OF_AUDIT: Final = frozenset({artifacts.AUDIT, artifacts.REPORT})
_NUMBERED: Final = re.compile(r"_(\d+)_\w+\.table\.json$")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What one journal brings to its run as files: those of the kinds that were chosen."""

    kinds: frozenset[artifacts.Kind]
    journal: Path

    @property
    def has_audit(self) -> bool:
        """Whether anything of an audit is uploaded."""
        return not self.kinds.isdisjoint(_OF_AUDIT)

    def travels(self, batch: Batch) -> bool:
        """Whether a batch brings the journal itself."""
        return artifacts.TELEMETRY in self.kinds and travel.is_due(batch, self.journal)

    def audit(self, found: Publication, run_id: str) -> wandb.Artifact:
        """The files of an audit; each audit of a run is a version of one artifact."""
        made = wandb.Artifact(audit_name(run_id), type="gradience-audit")
        for name, text in found.files(self.kinds).items():
            with made.new_file(name, encoding="utf-8") as file:
                file.write(text)
        return made

    def telemetry(self, batch: Batch, run_id: str) -> wandb.Artifact:
        """The journal up to the end of a batch; the longer one after a resume or an audit is the next version.

        Raises:
            TelemetryError: it cannot be packed.
        """
        made = wandb.Artifact(f"gradience-telemetry-{run_id}", type="gradience-telemetry")
        name, last = Path(travel.name(self.journal)).name, batch.records[-1]
        with tempfile.TemporaryDirectory(prefix="gradience-") as place:
            packed = Path(place) / name
            travel.pack(self.journal, last.end, packed)
            log.info("%s, %.1f kB: lines 1 to %d of %s", name, packed.stat().st_size / 1e3, last.line, self.journal)
            made.add_file(str(packed), name)  # which takes a copy
        return made


def audit_name(run_id: str) -> str:
    """What the artifact with the files of a run's audits is called."""
    return f"gradience-audit-{run_id}"


def table(columns: Mapping[str, list[Any]]) -> wandb.Table:
    """The modules of an audit, one in a row."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return wandb.Table(columns=list(columns), data=rows, allow_mixed_types=True)


def tables(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of the tables of ours that a run's last values refer to."""
    told = summary.get(TABLE)
    path = str(told.get("path")) if isinstance(told, Mapping) else ""
    return (path,) if _NUMBERED.search(path) else ()


def upload_again(live: Any, key: str, columns: Mapping[str, list[Any]]) -> None:
    """Upload the file of a table whose row came through, maybe without it, by the name that the row has for it."""
    told = live.summary.get(key)
    if found := _NUMBERED.search(str(told.get("path"))) if told is not None else None:
        made: Any = table(columns)
        made.bind_to_run(live, key, int(found[1]))


def media(live: Any) -> tuple[str, ...]:
    """The files that a run's rows refer to, which wandb uploads beside them."""
    folder = Path(live.dir)
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.glob("media/**/*") if path.is_file()))
