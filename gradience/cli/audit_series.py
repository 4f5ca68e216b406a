"""`gradience audit --all-checkpoints`: every adapter of a Trainer's output, and how it changes from step to step."""

import sys
from pathlib import Path

import click
import msgspec

from gradience import references
from gradience.audit.disk import folder, trainer
from gradience.audit.record import AuditRecord
from gradience.cli import audit_broken, audit_input, audit_note, audit_view, delivery, journals, keep, outcome, output
from gradience.cli.audit_input import Input
from gradience.cli.audit_view import TABLES, View
from gradience.cli.journals import Journal, Known
from gradience.cli.keep import Keeping
from gradience.cli.landing import Landed
from gradience.errors import AdapterError, NonfiniteError
from gradience.policy import series
from gradience.policy.advice import Advice
from gradience.policy.audit_rules import Earlier
from gradience.policy.rule import Policy
from gradience.policy.series import Point
from gradience.report import series_text


def check(view: View, *, several: bool) -> None:
    """Refuse what does not go with a series.

    Raises:
        click.UsageError: it does not.
    """
    audit_view.check(view)
    if several:
        raise click.UsageError("--all-checkpoints takes the output directory of one training")
    if view.wanted is not None or view.per_layer or view.format in TABLES:
        raise click.UsageError("--all-checkpoints has one row per adapter, as text or JSON: leave out the rest")


def run(asked: Input, view: View, keeping: Keeping, policy: Policy, fail_on: str | None) -> None:
    """Audit them one after another; an adapter that cannot be audited costs its own row and the exit code only."""
    if references.parse(asked.peft_dir):
        raise click.UsageError("--all-checkpoints takes a directory: fetch the checkpoints first")
    keep.check(keeping, asked.peft_dir)
    place = references.fetch(asked.peft_dir)
    walk = _Walk(asked, keep.journal(place, keeping), policy)
    for path in folder.series(place.folder):
        walk.take(path)
    if all(one.error for one in walk.points):
        sys.exit(outcome.UNUSABLE)
    if not view.as_json:
        output.lines(series_text.render(place.folder, walk.points))
    delivered: list[delivery.Delivered] = []
    try:
        delivered = keep.deliver(walk.landed, keeping, place, what=audit_note.WORD) if walk.landed else []
    finally:  # the audits are done and kept, whatever a tracker says
        if view.as_json:
            body = series.document(asked.peft_dir, asked.energy_level, walk.points)
            output.document({**body, **keep.told(walk.landed, delivered)})
    _finish(walk.points, delivered, keeping, fail_on)


class _Walk:
    """The audits so far; each is in the journal before the next one starts."""

    def __init__(self, asked: Input, journal: Journal | None, policy: Policy) -> None:
        self._asked, self._journal, self._policy = asked, journal, policy
        self._known = journals.known(journal, policy)
        self.points: list[Point] = []
        self.landed: Landed | None = None  # added, if any of the audits was

    def take(self, path: Path) -> None:
        try:
            record = audit_input.measure(path, self._asked)
        except AdapterError as error:
            outcome.refuse(str(error))
            self.points.append(Point(peft_dir=str(path), step=trainer.step(path), error=str(error)))
            if isinstance(error, NonfiniteError):
                self._landed(audit_broken.land(error, path, self._journal, self._policy))
            return
        advice = audit_note.advise(record, self._since(), self._policy, copies=self._asked.copies)
        self.points.append(series.point(record, advice, self.points))
        self._keep(record, advice)

    def _since(self) -> Known:
        """What is known of the run, and of the checkpoint before."""
        done = [one for one in self.points if one.summary is not None and one.step is not None]
        if not done or done[-1].summary is None or done[-1].step is None:
            return self._known
        earlier = Earlier(done[-1].step, done[-1].summary.energy_rank_95_p90)
        return msgspec.structs.replace(self._known, run=msgspec.structs.replace(self._known.run, earlier=earlier))

    def _keep(self, record: AuditRecord, advice: Advice) -> None:
        if self._journal is None:
            return
        self._landed(audit_note.land(self._journal, record, advice))

    def _landed(self, landed: Landed | None) -> None:
        if landed is None:
            return
        self._journal = Journal(path=landed.path, run_id=landed.run_id)
        added = landed.added or bool(self.landed and self.landed.added)
        self.landed = msgspec.structs.replace(landed, added=added)


def _finish(points: list[Point], delivered: list[delivery.Delivered], keeping: Keeping, fail_on: str | None) -> None:
    if any(one.error for one in points):
        sys.exit(outcome.UNUSABLE)
    if last := points[-1].advice:
        output.enforce(last.recommendations, fail_on)
    keep.enforce(keeping, delivered)
