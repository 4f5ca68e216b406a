"""One journal under watch: when it is worth a visit, and what became of the visits so far."""

from pathlib import Path
from typing import Final

import msgspec

from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet.errand import Answer, Busy, Done, Refused
from gradience.mirror.pace import LONGEST_WAIT_S

PARKED_S: Final = 300.0  # until something that only a person can mend is tried again
REST_S: Final = 5.0  # between two visits to a file that grows: each opens its tracked run anew
BUSY_S: Final = 5.0  # until a journal is looked at again that a side-car delivers
FIRST_WAIT_S: Final = 1.0
LAST_WAIT_S: Final = 2.0  # between attempts once there is a deadline
GRACE_S: Final = 10.0  # a recorder that is gone may be back: another cell, a trainer that was restarted


class Look(msgspec.Struct, frozen=True):
    """What is seen of a file without reading it; `left`: nobody records to it any more."""

    inode: int
    size: int
    left: bool = False


class Watched:
    """Every `now` is of one monotonic clock."""

    def __init__(self, path: Path, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self.path = path
        self._longest_wait_s = longest_wait_s
        self.at_work = False  # from the decision to visit it to the visit's end
        self.is_finished = False  # once it was told to hurry, whether nothing more can be done
        self.is_settled = False  # whether it is known how its last run ended
        self.outcome = Outcome(state=Delivery.BEHIND)  # of all visits together
        self.trouble: str | None = None  # why the last visit did not deliver everything
        self.is_refused = False  # whether that is a matter of the journal itself
        self._begun: Look | None = None
        self._delivered: Look | None = None  # when the last visit that reached the end of the file began
        self._left_since: float | None = None
        self._failures = 0
        self._due = 0.0
        self._hurried_at: Look | None = None
        self._is_stuck = False

    def is_due(self, now: float, look: Look) -> bool:
        """Whether to visit it now."""
        if self._delivered is not None and not _alike(self._delivered, look):
            self.is_settled = False
        self._left_since = (self._left_since or now) if look.left else None
        return not (self.at_work or self.is_finished) and now >= self._due and self._needs_visit(now, look)

    def begin(self, now: float, look: Look) -> bool:
        """Begin a visit; whether it is to find out, too, how the last run ended."""
        self.at_work = True
        self._begun = look
        return self._is_abandoned(now)

    def end(self, answer: Answer, now: float, *, looked_for_end: bool, chance: float) -> None:
        """The visit is over; `chance`, 0 to 1, spreads the next attempts of many journals."""
        self.at_work = False
        state = answer.outcome.state if isinstance(answer, Done) else None
        if isinstance(answer, Done):
            self._add(answer.outcome)
        self.trouble = None if isinstance(answer, Busy) else self.outcome.error if state else _why(answer)
        is_delivered = state is Delivery.UP_TO_DATE
        self._delivered = self._begun if is_delivered else None
        self.is_settled = is_delivered and (self.is_settled or looked_for_end)
        self.is_refused = isinstance(answer, Refused)
        self._is_stuck = isinstance(answer, Busy | Refused) or state is Delivery.PARKED
        self.is_finished = self._hurried_at is not None and (self._is_stuck or self._reached(self._hurried_at))
        self._failures = 0 if is_delivered or self._is_stuck or state is Delivery.BEHIND else self._failures + 1
        self._due = now + self._wait_s(answer, chance)

    def hurry(self, now: float, look: Look) -> None:
        """Have what is there delivered as soon as possible, and nothing that comes later."""
        self._hurried_at = look
        self._due = now
        self.is_finished = not self.at_work and (self._is_stuck or not self._needs_visit(now, look))

    def relieve(self, now: float) -> None:
        """The tracker answers again: there is no need to wait for the next attempt."""
        if self._failures:
            self._failures, self._due = 0, now

    def _needs_visit(self, now: float, look: Look) -> bool:
        return self._delivered is None or not _alike(self._delivered, look) or self._is_abandoned(now)

    def _is_abandoned(self, now: float) -> bool:
        return self._left_since is not None and not self.is_settled and now - self._left_since >= GRACE_S

    def _reached(self, goal: Look) -> bool:
        """Whether everything was delivered that was there at `goal`; another file in its place has no such lines."""
        found = self._delivered
        return found is not None and (found.inode != goal.inode or found.size >= goal.size)

    def _add(self, outcome: Outcome) -> None:
        so_far = self.outcome
        self.outcome = msgspec.structs.replace(
            outcome,
            sent=so_far.sent + outcome.sent,
            rejected=so_far.rejected + outcome.rejected,
            skipped=so_far.skipped + outcome.skipped,
            unreadable=so_far.unreadable + outcome.unreadable,
        )

    def _wait_s(self, answer: Answer, chance: float) -> float:
        if isinstance(answer, Busy):
            return BUSY_S
        if self._is_stuck:
            return PARKED_S
        if not self._failures:
            return REST_S if self._delivered and self._hurried_at is None else 0.0
        longest_s = self._longest_wait_s if self._hurried_at is None else LAST_WAIT_S
        return pause_s(self._failures, chance, longest_s)


def pause_s(failures: int, chance: float, longest_s: float) -> float:
    """How long to wait after so many failures in a row."""
    return min(FIRST_WAIT_S * 2.0 ** min(failures - 1, 20), longest_s) * (0.5 + 0.5 * chance)


def _alike(one: Look, other: Look) -> bool:
    return (one.inode, one.size) == (other.inode, other.size)


def _why(answer: Answer) -> str | None:
    return None if isinstance(answer, Done | Busy) else answer.why
