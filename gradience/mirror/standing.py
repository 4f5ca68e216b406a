"""What stands on a tracked run after a batch: which advice, and whether its hypothesis was verified.

What is said about an adapter of an older step never replaces what is said about a newer one. A verification outlives
further advice on the same adapter, which knows nothing of it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from gradience.mirror import verified
from gradience.mirror.sink import Batch
from gradience.mirror.verified import Verified
from gradience.vnext.record import Record
from gradience.vnext.types import Metrics, RecommendationEvent

ADVICE_STEP_TAG: Final = "gradience.advice_step"  # the highest that was spoken about
_FORGOTTEN: Final = {verified.ADAPTER_TAG: "none", verified.RANK_TAG: "none"}


class _Said(msgspec.Struct, frozen=True):
    """A line that speaks about an adapter: advice where it is no verification."""

    record: Record
    verified: Verified | None


def is_advice(record: Record) -> bool:
    """Whether a line is a verdict on the run, not just any recommendation."""
    return isinstance(record.event, RecommendationEvent) and "verdict" in record.extras


def speaks(record: Record) -> bool:
    """Whether a line may change what stands."""
    return is_advice(record) or verified.of_line(record) is not None


def brings(batch: Batch) -> bool:
    """Whether a batch may."""
    return any(map(speaks, batch.records))


def advice(batch: Batch) -> Record | None:
    """The advice of a batch that stands after it; None when it brings none, or only about an older step."""
    found = [said.record for said in _standing(batch) if said.verified is None]
    return found[-1] if found else None


def verified_tags(batch: Batch) -> dict[str, str]:
    """The tags about verification after a batch, over those of its advice; none where it changes nothing."""
    known = dict(batch.verified)
    found: dict[str, str] = {}
    for said in _standing(batch):
        if said.verified is not None:
            known[said.verified.adapter] = said.verified
        one = said.verified or known.get(str(said.record.payload.get("adapter")))
        step = said.record.event.step
        stepped = {} if step is None else {ADVICE_STEP_TAG: str(step)}
        found = {**one.tags, **stepped} if one else (_FORGOTTEN if known else {})
    return found


def in_light_of(batch: Batch, tags: Mapping[str, object]) -> Batch:
    """The batch, given what another journal may have left on the run, as its tags tell."""
    tagged, one = str(tags.get(ADVICE_STEP_TAG, "")), verified.of_tags(tags)
    steps = [step for step in (batch.advised, int(tagged) if tagged.isdigit() else None) if step is not None]
    told = {one.adapter: one} if one else {}
    return msgspec.structs.replace(batch, advised=max(steps, default=None), verified={**told, **batch.verified})


def _standing(batch: Batch) -> Iterator[_Said]:
    """The lines that stood when they came, oldest first."""
    newest = batch.advised
    for record in batch.records:
        if not isinstance(record.event, Metrics | RecommendationEvent) or not speaks(record):
            continue
        step = record.event.step
        if step is None or newest is None or step >= newest:
            newest = newest if step is None else step
            yield _Said(record, verified.of_line(record))
