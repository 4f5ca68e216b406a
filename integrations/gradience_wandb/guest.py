"""What a run that is somebody else's receives: pure, so that a replay says the same again.

Its configuration and its curves are its own tracker's affair; it gets what that does not have: audits, advice and
alerts. What a person wrote stays: tags are added, a note is only put where none is, config and summary have one key of
ours, and files have a folder.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec

from gradience.mirror import audits, standing, verified, view
from gradience.mirror.audits import Audit, Publication
from gradience.mirror.sink import Batch, Position
from gradience.vnext.record import Record
from gradience.vnext.types import Eval, TrainStep
from gradience_wandb import contents
from gradience_wandb.known import ROOT, Known

_RUNS_OWN: Final = ("run_id", "cursor", "status")  # what a run of ours has of its own journal in its summary
AUDIT_FILE: Final = f"{ROOT}/{audits.AUDIT_FILE}"


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch makes of tags, notes and our key in the config, and what it adds to summary and files."""

    tags: tuple[str, ...]
    notes: str
    ours: dict[str, Any]
    summary: dict[str, Any]
    files: dict[str, str]


def gift(
    batch: Batch,
    known: Known,
    earlier: Audit | None,
    kinds: Collection[str],
    published: Callable[[], Iterable[Audit]] = lambda: (),
) -> Gift:
    """What a batch brings to a run.

    `earlier` is an audit whose advice may only come now; `published` reads back those that the run holds.
    """
    batch = contents.in_light_of(batch, known)
    found = contents.contents(batch, msgspec.structs.replace(known, config={}))
    publication = audits.publication(batch, earlier, published)
    note = publication.note if publication and _may_note(known) else None
    told = {key: value for key, value in found.told.items() if key not in _RUNS_OWN}
    kept = {key: value for key, value in known.told.items() if key in _RUNS_OWN}
    marked = {"note": contents.mark(note)} if note is not None else {}
    return Gift(
        tags=found.tags,
        notes=known.notes if note is None else note,
        ours=_ours(batch, known),
        summary={**_values(batch), ROOT: {**told, **kept, **marked}},
        files=_files(publication, kinds) if publication else {},
    )


def rows(batch: Batch, known: Known) -> list[view.Row]:
    """The numbers of a batch line by line, without audits about an older step than the advice that stands."""
    batch = contents.in_light_of(batch, known)
    return [row for row in view.rows(batch) if row.values and not _is_outdated(row.record, batch)]


def position(known: Known, run_id: str) -> Position | None:
    """How far a journal was delivered to a run."""
    return Position.parse(str(_kept(known, "cursors").get(run_id, "")))


def _ours(batch: Batch, known: Known) -> dict[str, Any]:
    run_id = batch.records[0].event.run_id
    return {
        "run_id": run_id,
        **_kept(known),
        "cursors": {**_kept(known, "cursors"), run_id: str(batch.position)},
    }


def _kept(known: Known, *path: str) -> dict[str, Any]:
    """What is ours in the config, at a path; nothing where somebody has put something else there."""
    found: Any = known.config
    for key in (ROOT, *path):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _values(batch: Batch) -> dict[str, float]:
    """The last value of every metric that is not the curve of a training."""
    own = [row for row in view.rows(batch) if not isinstance(row.record.event, TrainStep | Eval)]
    standing = [row for row in own if not _is_outdated(row.record, batch)]
    return {contents.legal(key): value for row in standing for key, value in row.values.items()}


def _is_outdated(record: Record, batch: Batch) -> bool:
    """Whether a line is an audit or a verification of an older step than one that was spoken of before it."""
    step = record.event.step
    if step is None or not (audits.is_audit(record) or verified.of_line(record)):
        return False
    before = [one.event.step for one in batch.records if one.line < record.line and standing.speaks(one)]
    return any(advised is not None and step < advised for advised in [batch.advised, *before])


def _files(publication: Publication, kinds: Collection[str]) -> dict[str, str]:
    return {f"{ROOT}/{name}": text for name, text in publication.files(kinds).items()}


def _may_note(known: Known) -> bool:
    """Whether the run has no note, or the one that we wrote last."""
    return not known.notes or contents.mark(known.notes) == known.told.get("note")
