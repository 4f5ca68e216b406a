"""An audit on its tracked run: `audit.json`, `report.md` and the run's note, all rendered from the journal's lines.

A note that a person wrote stays: only an absent one, or the one that we wrote last, is replaced.
"""

import logging
import tempfile
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.audit import columns
from gradience.errors import UnavailableError
from gradience.mirror import view
from gradience.mirror.sink import Batch
from gradience.policy import audit_event
from gradience.vnext.record import Record
from gradience.vnext.types import Metrics
from gradience_mlflow import limits
from gradience_mlflow.faults import plain, translated

log = logging.getLogger("gradience.mlflow")

AUDIT_FILE: Final = "audit.json"
REPORT_FILE: Final = "report.md"
NOTE_TAG: Final = "mlflow.note.content"
OUR_NOTE_TAG: Final = "gradience.note"  # a hash of the note as we wrote it
MISSING_TAG: Final = "gradience.artifacts_missing"
_FRAME: Final = ("schema", "run_id", "step", "ts", "advice")  # of audit.json, around the audit's own fields


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """One audit as its line tells it."""

    run_id: str
    ts: float
    step: int | None
    metrics: dict[str, Any]

    @property
    def fingerprint(self) -> str | None:
        """The hash of the adapter that was audited."""
        adapter = self.metrics.get("adapter")
        return adapter.get("fingerprint") if isinstance(adapter, Mapping) else None


def audits(batch: Batch) -> list[Audit]:
    """The audits of a batch, oldest first."""
    return [_audit(record) for record in batch.records if isinstance(record.event, Metrics) and _is_audit(record)]


def brings(batch: Batch) -> bool:
    """Whether a batch has something to publish."""
    return bool(audits(batch)) or view.advice(batch) is not None


def publish(client: MlflowClient, run: TrackedRun, batch: Batch, earlier: Audit | None) -> dict[str, str]:
    """Upload what stands after a batch and return the tags that go with it.

    `earlier` is an audit whose advice may only come now. A store that takes no artifacts costs the files, never the
    numbers: the reason becomes a tag.

    Raises:
        UnavailableError: the store cannot be reached.
    """
    known = [*([earlier] if earlier else []), *audits(batch)]
    advice = view.advice(batch)
    if advice is not None:
        payload: dict[str, Any] | None = advice.payload
        audit = _match(known, advice.payload) or _match(_published(client, run), advice.payload)
    else:
        payload, audit = None, _newest(audits(batch), batch.advised)
    return _publish(client, run, audit, payload) if audit else {}


def _publish(client: MlflowClient, run: TrackedRun, audit: Audit, advice: dict[str, Any] | None) -> dict[str, str]:
    from gradience.report import markdown  # the renderer is needed for audits alone

    note = markdown.audit_note(audit.metrics, advice)
    files = {AUDIT_FILE: _document(audit, advice), REPORT_FILE: note}
    return {**_upload(client, run, files), **_note_tags(run, limits.text(note, limits.TAG))}


def _document(audit: Audit, advice: dict[str, Any] | None) -> str:
    frame = {"schema": audit_event.DOCUMENT_SCHEMA, "run_id": audit.run_id, "step": audit.step, "ts": audit.ts}
    return msgspec.json.format(msgspec.json.encode({**frame, **audit.metrics, "advice": advice}), indent=2).decode()


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
    """The audit that the run holds already, for advice that comes in a later process than its audit."""
    run_id = run.info.run_id
    try:
        with translated(f"Reading {AUDIT_FILE} of MLflow run {run_id}"), tempfile.TemporaryDirectory() as place:
            if all(file.path != AUDIT_FILE for file in client.list_artifacts(run_id)):
                return []
            return [_read(Path(client.download_artifacts(run_id, AUDIT_FILE, place)).read_bytes())]
    except UnavailableError:
        raise
    except Exception as unreadable:  # noqa: BLE001  # as in `_upload`; and the file may be anybody's
        log.debug("%s", plain(unreadable))
        return []


def _read(document: bytes) -> Audit:
    fields = msgspec.json.decode(document, type=dict[str, Any])
    metrics = {key: value for key, value in fields.items() if key not in _FRAME}
    return Audit(run_id=fields["run_id"], ts=fields["ts"], step=fields["step"], metrics=metrics)


def _match(known: Iterable[Audit], advice: Mapping[str, Any]) -> Audit | None:
    """The last audit of the adapter that the advice is about."""
    wanted = advice.get("adapter")
    fitting = [audit for audit in known if wanted is None or audit.fingerprint in (None, wanted)]
    return fitting[-1] if fitting else None


def _newest(found: list[Audit], advised: int | None) -> Audit | None:
    """The last audit, unless it is about an older step than the advice that stands."""
    last = found[-1] if found else None
    older = last is not None and None not in (last.step, advised) and last.step < advised  # type: ignore[operator]
    return None if older else last


def _is_audit(record: Record) -> bool:
    return isinstance(record.event, Metrics) and record.event.kind == columns.KIND


def _audit(record: Record) -> Audit:
    event = record.event
    return Audit(run_id=event.run_id, ts=event.ts, step=event.step, metrics=record.payload["metrics"])
