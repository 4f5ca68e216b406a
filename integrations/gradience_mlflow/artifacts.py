"""An audit on its tracked run: `audit.json`, `report.md` and the run's note.

A note that a person wrote stays: only an absent one, or the one that we wrote last, is replaced.
"""

import logging
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.errors import UnavailableError
from gradience.mirror import audits
from gradience.mirror.audits import AUDIT_FILE, REPORT_FILE, Audit
from gradience.mirror.sink import Batch
from gradience_mlflow import limits
from gradience_mlflow.faults import plain, translated

log = logging.getLogger("gradience.mlflow")

NOTE_TAG: Final = "mlflow.note.content"
OUR_NOTE_TAG: Final = "gradience.note"  # a hash of the note as we wrote it
MISSING_TAG: Final = "gradience.artifacts_missing"


def publish(client: MlflowClient, run: TrackedRun, batch: Batch, earlier: Audit | None) -> dict[str, str]:
    """Upload what stands after a batch and return the tags that go with it.

    `earlier` is an audit whose advice may only come now. A store that takes no artifacts costs the files, never the
    numbers: the reason becomes a tag.

    Raises:
        UnavailableError: the store cannot be reached.
    """
    found = audits.publication(batch, earlier, lambda: _published(client, run))
    if found is None:
        return {}
    files = {AUDIT_FILE: found.document, REPORT_FILE: found.note}
    return {**_upload(client, run, files), **_note_tags(run, limits.text(found.note, limits.TAG))}


def _upload(client: MlflowClient, run: TrackedRun, files: Mapping[str, str]) -> dict[str, str]:
    try:
        with translated(f"Uploading {' and '.join(files)} to MLflow run {run.info.run_id}"):
            for name, content in files.items():
                client.log_text(run.info.run_id, content, name)
    except UnavailableError:
        raise
    except Exception as refused:  # noqa: BLE001  # artifact stores raise classes of their own libraries
        reason = plain(refused)
        log.warning("%s Metrics and tags are delivered without these files.", reason)
        return {MISSING_TAG: reason}
    return {MISSING_TAG: "none"} if MISSING_TAG in run.data.tags else {}


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
    except Exception as unreadable:  # noqa: BLE001  # as in `_upload`; and the file may be anybody's
        log.debug("%s", plain(unreadable))
        return []
