"""Several audits in the journals of their runs, and in the trackers after that, one after the other."""

import msgspec

from gradience import references
from gradience.audit.record import AuditRecord
from gradience.batch import row
from gradience.batch.work import Answer
from gradience.cli import audit_note, journals, keep, outcome
from gradience.cli.keep import Keeping
from gradience.errors import GradienceError
from gradience.policy.advice import Advice
from gradience.policy.rule import Policy


class Landings:
    """Puts each audit where its adapter's run is, if trackers are to hear of it."""

    def __init__(self, keeping: Keeping, policy: Policy, copies: int | None) -> None:
        self._keeping, self._policy, self._copies = keeping, policy, copies
        self.has_failed = False
        self.is_behind = False

    def land(self, answer: Answer) -> Answer:
        """The answer without its record; what the run knows may have changed the advice."""
        if answer.record is None:
            return answer
        try:
            advice = self._land(answer.place, answer.record)
        except GradienceError as error:
            outcome.refuse(str(error))
            self.has_failed = True
            return msgspec.structs.replace(answer, record=None)
        found = row.of(answer.row.name, answer.record, advice)
        return msgspec.structs.replace(answer, row=found, findings=advice.recommendations, record=None)

    def _land(self, place: str, record: AuditRecord) -> Advice:
        fetched = references.fetch(place, tracker=self._keeping.tracking_uri)
        journal = keep.journal(fetched, self._keeping)
        advice = audit_note.advise(record, journals.known(journal, self._policy), self._policy, copies=self._copies)
        if journal is not None:
            delivered = keep.deliver(
                audit_note.land(journal, record, advice), self._keeping, fetched, what=audit_note.WORD
            )
            self.is_behind = self.is_behind or not all(one.up_to_date for one in delivered)
        return advice
