"""What of an audit goes into a tracker as files and as a note: the same in each, rendered from the journal's lines."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from gradience.audit import columns
from gradience.mirror import artifacts, standing
from gradience.mirror.sink import Batch
from gradience.policy import audit_event
from gradience.vnext.record import Record
from gradience.vnext.types import Metrics

AUDIT_FILE: Final = "audit.json"
REPORT_FILE: Final = "report.md"
PAGE_FILE: Final = "report.html"
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


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """An audit and the advice that goes with it, if there is any so far."""

    audit: Audit
    advice: dict[str, Any] | None

    @property
    def document(self) -> str:
        """The text of `audit.json`."""
        audit = self.audit
        frame = {"schema": audit_event.DOCUMENT_SCHEMA, "run_id": audit.run_id, "step": audit.step, "ts": audit.ts}
        fields = {**frame, **audit.metrics, "advice": self.advice}
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()

    @property
    def note(self) -> str:
        """The text of `report.md`, with the verdict first."""
        from gradience.report import markdown  # the renderer is needed for audits alone

        return markdown.audit_note(self.audit.metrics, self.advice)

    @property
    def page(self) -> str:
        """The text of `report.html`: the same with figures, and nothing that has to be fetched."""
        from gradience.report.html import adapter_report  # as in `note`

        return adapter_report.render(self.audit.metrics, self.advice)

    def files(self, kinds: Collection[str]) -> dict[str, str]:
        """The files of the kinds that a sink was asked for: their texts by their names."""
        audit = {AUDIT_FILE: self.document} if artifacts.AUDIT in kinds else {}
        report = {REPORT_FILE: self.note, PAGE_FILE: self.page} if artifacts.REPORT in kinds else {}
        return audit | report


def of(batch: Batch) -> list[Audit]:
    """The audits of a batch, oldest first."""
    return [_audit(record) for record in batch.records if is_audit(record)]


def brings(batch: Batch) -> bool:
    """Whether a batch has something to publish."""
    return any(map(is_audit, batch.records)) or standing.advice(batch) is not None


def publication(
    batch: Batch, earlier: Audit | None, published: Callable[[], Iterable[Audit]] = lambda: ()
) -> Publication | None:
    """What stands after a batch; None when it changes nothing.

    `earlier` is an audit whose advice may only come now; `published` fetches those that the tracker holds already, for
    advice that comes in a later process than its audit.
    """
    found = of(batch)
    advice = standing.advice(batch)
    if advice is None:
        newest = _newest(found, batch.advised)
        return Publication(audit=newest, advice=None) if newest else None
    known = [*([earlier] if earlier else []), *found]
    audit = _match(known, advice.payload) or _match(published(), advice.payload)
    return Publication(audit=audit, advice=advice.payload) if audit else None


def read(document: bytes) -> Audit:
    """The audit of an `audit.json`."""
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


def is_audit(record: Record) -> bool:
    """Whether a line is an audit."""
    return isinstance(record.event, Metrics) and record.event.kind == columns.KIND


def _audit(record: Record) -> Audit:
    event = record.event
    return Audit(run_id=event.run_id, ts=event.ts, step=event.step, metrics=record.payload["metrics"])
