"""An adapter that is not finite cannot be audited; that it is not is a finding, which belongs to its run."""

from pathlib import Path

from gradience.audit.disk import adapter
from gradience.cli import keep, landing
from gradience.cli.audit_note import WORD
from gradience.cli.journals import Journal
from gradience.cli.keep import Keeping
from gradience.cli.landing import Entry, Landed, Note
from gradience.errors import NonfiniteError
from gradience.mirror import origin
from gradience.policy import advice, audit_event
from gradience.policy.rule import Policy
from gradience.references import Fetched
from gradience.vnext.types import Recommendation


def alert(error: NonfiniteError, place: Fetched, journal: Journal | None, keeping: Keeping, policy: Policy) -> None:
    """Tell the run that the adapter belongs to, once and with the verdict `error`, where the audit was to be kept.

    Raises:
        GradienceError: the journal cannot be written.
    """
    with place.named():
        landed = land(error, place.folder, journal, policy)
    if landed is not None:
        keep.deliver(landed, keeping, place, what=WORD)


def land(error: NonfiniteError, adapter_dir: Path, journal: Journal | None, policy: Policy) -> Landed | None:
    """The same for the journal alone; None where there is nothing to keep.

    Raises:
        GradienceError: the journal cannot be written.
    """
    findings = advice.unmeasured(error.names, error.modules, policy=policy)
    if journal is None or not findings:
        return None
    info = adapter.identify(adapter_dir)
    said = audit_event.unmeasured(findings, info.fingerprint)  # else the verdict on an earlier checkpoint would stand
    verdict = Entry(event="recommendation", payload=said, identity=("adapter", "codes"))
    entries = (*(_entry(found, info.fingerprint) for found in findings), verdict)
    return landing.land(journal, Note(adapter=info, maker=origin.AUDIT, entries=entries))


def _entry(found: Recommendation, fingerprint: str | None) -> Entry:
    context = {**found.evidence, "fingerprint": fingerprint}
    told = {"severity": found.severity.value, "code": found.action, "message": found.message, "context": context}
    return Entry(event="alert", payload=told, identity=("code", "context.fingerprint"))
