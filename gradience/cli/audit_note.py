"""An audit and its advice as entries of a journal: the same audit of the same adapter stands there once."""

from typing import Final

import msgspec

from gradience.audit.record import AuditRecord
from gradience.cli import landing
from gradience.cli.journals import Journal, Known
from gradience.cli.landing import Entry, Landed, Note
from gradience.mirror import origin
from gradience.policy import advice, audit_event
from gradience.policy.advice import Advice
from gradience.policy.rule import Policy

WORD: Final = "audit"
_SAME_AUDIT: Final = (
    "kind",
    "metrics.adapter.fingerprint",
    "metrics.adapter.initial",
    "metrics.audit_version",
    "metrics.energy_level",
    "metrics.base_path",
)


def advise(record: AuditRecord, known: Known, policy: Policy | None = None, *, copies: int | None = None) -> Advice:
    """The advice on an audit, in the light of what its run knows."""
    found = advice.advise(record, run=known.run, copies=copies, policy=policy)
    return msgspec.structs.replace(found, verified=known.verified(record.adapter.fingerprint))


def land(journal: Journal, record: AuditRecord, advised: Advice) -> Landed:
    """Append the audit and its advice to the journal.

    Raises:
        TelemetryError: the journal cannot be written; nothing of the audit is in it then.
    """
    return landing.land(journal, note(record, advised))


def note(record: AuditRecord, advised: Advice) -> Note:
    """The two events; an adapter without a fingerprint is never known to be the same."""
    is_known = record.adapter.fingerprint is not None
    audit = {"kind": audit_event.KIND, "metrics": audit_event.metrics(record, advised)}
    entries = (
        Entry(event="metrics", payload=audit, identity=_SAME_AUDIT if is_known else ()),
        Entry(event="recommendation", payload=audit_event.recommendation(record, advised), identity=("adapter",)),
    )
    return Note(adapter=record.adapter, maker=origin.AUDIT, entries=entries)
