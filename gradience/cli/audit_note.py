"""An audit and its advice as entries of a journal: the same audit of the same adapter stands there once."""

from typing import Final

from gradience.audit.record import AuditRecord
from gradience.cli import landing
from gradience.cli.journals import Journal
from gradience.cli.landing import Entry, Landed, Note
from gradience.mirror import origin
from gradience.policy import audit_event
from gradience.policy.advice import Advice

WORD: Final = "audit"
_SAME_AUDIT: Final = (
    "kind",
    "metrics.adapter.fingerprint",
    "metrics.adapter.initial",
    "metrics.audit_version",
    "metrics.energy_level",
    "metrics.base_path",
)


def land(journal: Journal, record: AuditRecord, advice: Advice) -> Landed:
    """Append the audit and its advice to the journal.

    Raises:
        TelemetryError: the journal cannot be written; nothing of the audit is in it then.
    """
    return landing.land(journal, note(record, advice))


def note(record: AuditRecord, advice: Advice) -> Note:
    """The two events; an adapter without a fingerprint is never known to be the same."""
    is_known = record.adapter.fingerprint is not None
    audit = {"kind": audit_event.KIND, "metrics": audit_event.metrics(record, advice)}
    entries = (
        Entry(event="metrics", payload=audit, identity=_SAME_AUDIT if is_known else ()),
        Entry(event="recommendation", payload=audit_event.recommendation(record, advice), identity=("adapter",)),
    )
    return Note(adapter=record.adapter, maker=origin.AUDIT, entries=entries)
