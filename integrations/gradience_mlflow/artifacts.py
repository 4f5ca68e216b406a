"""The files of a tracked run: those of an audit, the journal itself; and the run's note.

A note that a person wrote stays: only an absent one, or the one that we wrote last, is replaced. A store that takes no
files costs the files, never the numbers.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.errors import UnavailableError
from gradience.mirror import artifacts, audits, travel
from gradience.mirror.audits import AUDIT_FILE, Audit
from gradience.mirror.sink import Batch
from gradience_mlflow import limits
from gradience_mlflow.faults import plain, translated

log = logging.getLogger("gradience.mlflow")

NOTE_TAG: Final = "mlflow.note.content"
OUR_NOTE_TAG: Final = "gradience.note"  # a hash of the note as we wrote it
MISSING_TAG: Final = "gradience.artifacts_missing"
UPLOADS: Final = 5  # of a journal that a store never answers, though the tracker does: it must not hold up the numbers


class Artifacts:
    """What one journal brings to its tracked run beside numbers: files of the kinds that were chosen, and the note."""

    def __init__(self, client: MlflowClient, journal: Path, kinds: frozenset[artifacts.Kind]) -> None:
        self._client = client
        self._journal = journal
        self._kinds = kinds
        self._audit: Audit | None = None  # its advice may only come now
        self._unanswered = 0

    def brings(self, batch: Batch) -> bool:
        """Whether a batch has something to publish."""
        return audits.brings(batch) or self._travels(batch)

    def publish(self, run: TrackedRun, batch: Batch) -> dict[str, str]:
        """Upload what stands after a batch and return the tags that go with it.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        found = None
        if audits.brings(batch):
            found = audits.publication(batch, self._audit, lambda: _published(self._client, run))
        files = found.files(self._kinds) if found else {}
        refused = [self._upload_audit(run, files)] if files else []
        refused += [self._upload_journal(run, batch)] if self._travels(batch) else []
        note = _note_tags(run, limits.text(found.note, limits.TAG)) if found else {}
        return {**_missing_tag(run, refused), **note}

    def delivered(self, batch: Batch) -> None:
        """Take note of a batch that the tracker has taken whole."""
        self._audit = next(reversed(audits.of(batch)), self._audit)
        self._unanswered = 0

    def _travels(self, batch: Batch) -> bool:
        return artifacts.TELEMETRY in self._kinds and travel.is_due(batch, self._journal)

    def _upload_audit(self, run: TrackedRun, files: Mapping[str, str]) -> str | None:
        with _reasoned(run, *files) as refused:
            for name, text in files.items():
                self._client.log_text(run.info.run_id, text, name)
        return refused.why

    def _upload_journal(self, run: TrackedRun, batch: Batch) -> str | None:
        name, last = travel.name(self._journal), batch.records[-1]
        try:
            with _reasoned(run, name) as refused, tempfile.TemporaryDirectory(prefix="gradience-") as place:
                packed = Path(place) / Path(name).name
                travel.pack(self._journal, last.end, packed)
                size = packed.stat().st_size
                self._client.log_artifact(run.info.run_id, str(packed), travel.FOLDER)
                log.info("%s, %.1f kB: lines 1 to %d of %s", name, size / 1e3, last.line, self._journal)
        except UnavailableError as unanswered:
            self._unanswered += 1
            if self._unanswered < UPLOADS:
                raise
            return str(unanswered)
        return refused.why


class _Refused:
    """Why files are missing; None while they are not."""

    why: str | None = None


@contextmanager
def _reasoned(run: TrackedRun, *names: str) -> Iterator[_Refused]:
    """What an upload meets, but for a store that cannot be reached, costs these files and is said."""
    refused = _Refused()
    try:
        with translated(f"Uploading {' and '.join(names)} to MLflow run {run.info.run_id}"):
            yield refused
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001  # artifact stores raise classes of their own libraries
        refused.why = plain(error)
        log.warning("%s Metrics and tags are delivered without these files.", refused.why)


def _missing_tag(run: TrackedRun, refused: list[str | None]) -> dict[str, str]:
    """The tag after some uploads, of which each was refused for a reason or not; none where nothing is missing."""
    if why := " ".join(filter(None, refused)):
        return {MISSING_TAG: limits.text(why, limits.TAG)}
    return {MISSING_TAG: "none"} if refused and MISSING_TAG in run.data.tags else {}


def _note_tags(run: TrackedRun, note: str) -> dict[str, str]:
    present = run.data.tags.get(NOTE_TAG)
    if present and _hash(present) != run.data.tags.get(OUR_NOTE_TAG):
        return {}
    return {NOTE_TAG: note, OUR_NOTE_TAG: _hash(note)}


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _published(client: MlflowClient, run: TrackedRun) -> list[Audit]:
    """The audit that the run holds already."""
    run_id = run.info.run_id
    try:
        with translated(f"Reading {AUDIT_FILE} of MLflow run {run_id}"), tempfile.TemporaryDirectory() as place:
            if all(file.path != AUDIT_FILE for file in client.list_artifacts(run_id)):
                return []
            return [audits.read(Path(client.download_artifacts(run_id, AUDIT_FILE, place)).read_bytes())]
    except UnavailableError:
        raise
    except Exception as unreadable:  # noqa: BLE001  # as in `_reasoned`; and the file may be anybody's
        log.debug("%s", plain(unreadable))
        return []
