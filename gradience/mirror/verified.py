"""Whether the hypothesis of an adapter's advice was verified, as a line of the journal or the tags of a run tell."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from gradience.vnext.record import Record
from gradience.vnext.types import Metrics

KIND: Final = "verification"  # of the event
OUTCOME_TAG: Final = "gradience.verified"
ADAPTER_TAG: Final = "gradience.verified_adapter"
RANK_TAG: Final = "gradience.verified_rank"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """How compressing an adapter to a rank stood its test; `adapter` is the fingerprint of the original."""

    adapter: str
    outcome: Literal["pass", "fail"]
    rank: int

    @property
    def tags(self) -> dict[str, str]:
        """The same as tags of the run."""
        return {OUTCOME_TAG: self.outcome, ADAPTER_TAG: self.adapter, RANK_TAG: str(self.rank)}


def of_line(record: Record) -> Verified | None:
    """What a line tells; None where it is no verification, or an inconclusive one, which shows nothing."""
    event = record.event
    if not isinstance(event, Metrics) or event.kind != KIND:
        return None
    from gradience.evaluation import verification  # brings statistics: only where there is one

    found = verification.read(event.metrics)
    if found is None or found.adapter.fingerprint is None or found.verified == "inconclusive":
        return None
    return Verified(adapter=found.adapter.fingerprint, outcome=found.verified, rank=found.compressed_adapter.r)


def of_tags(tags: Mapping[str, object]) -> Verified | None:
    """What the tags of a run tell; None where it was not verified."""
    outcome, adapter, rank = (str(tags.get(name, "")) for name in (OUTCOME_TAG, ADAPTER_TAG, RANK_TAG))
    if outcome not in ("pass", "fail") or not rank.isdigit():
        return None
    return Verified(adapter=adapter, outcome="pass" if outcome == "pass" else "fail", rank=int(rank))
