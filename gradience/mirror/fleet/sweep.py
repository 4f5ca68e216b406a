"""Every journal once: the agenda of a command that catches a tracker up and ends."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import GradienceError
from gradience.mirror import reason
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet.errand import Answer, Done, Errand, Lost, Refused
from gradience.mirror.fleet.outage import Outage
from gradience.mirror.fleet.standing import Standing

SHORT_S: Final = 2.0  # the patience with a tracker that has just failed another journal


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a sweep: `deadline_s` for all of it, `patience_s` for a journal without progress."""

    deadline_s: float | None = None
    patience_s: float | None = None
    from_start: bool = False


class Result(msgspec.Struct, frozen=True):
    """What became of one journal."""

    path: Path
    answer: Done | Refused


class Sweep:
    """Hands out each journal once; when the tracker is found to be down, the rest is not tried.

    `look` tells how a journal stands, for one that was not tried; `moved` is called as lines are passed.
    """

    def __init__(
        self,
        journals: Sequence[Path],
        terms: Terms,
        outage: Outage,
        look: Callable[[Path], Standing],
        moved: Callable[[Path, int], object],
    ) -> None:
        self._terms = terms
        self._outage = outage
        self._look = look
        self._moved = moved
        self._journals = journals
        self._pending = deque(journals)
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._began = time.monotonic()

    def results(self) -> Iterator[Result]:
        """One for each journal, in their order."""
        early: dict[Path, Result] = {}
        for path in self._journals:
            while path not in early:
                result = self._results.get()
                early[result.path] = result
            yield early.pop(path)

    def take(self, wait_s: float) -> Errand | None:  # noqa: ARG002 - what there is to do is known from the start
        """The next journal; none when there is no more use or time."""
        with self._guard:
            left_s = self._left_s()
            if why := self._hopeless(left_s):
                self._give_up(why)
            if not self._pending:
                return None
            return Errand(
                journal=str(self._pending.popleft()),
                deadline_s=left_s,
                patience_s=SHORT_S if self._outage.is_suspected else self._terms.patience_s,
                from_start=self._terms.from_start,
                confirm=len(self._journals) == 1,  # hundreds with nothing to send are not asked about one by one
            )

    def is_over(self) -> bool:
        """Whether every journal was handed out."""
        return not self._pending

    def moved(self, errand: Errand, line: int) -> None:
        """The tracker took a line."""
        self._outage.answered()
        self._moved(Path(errand.journal), line)

    def done(self, errand: Errand, answer: Answer) -> None:
        """Keep the result, and what it tells of the tracker."""
        path = Path(errand.journal)
        if isinstance(answer, Lost):
            self._outage.failed(errand.journal, answer.why)
        if isinstance(answer, Done) and answer.outcome.state is Delivery.UNAVAILABLE:
            self._outage.failed(errand.journal, answer.outcome.error)
        if isinstance(answer, Done | Refused):
            self._results.put(Result(path, answer))
        else:
            why = answer.why if isinstance(answer, Lost) else "another process is delivering"
            self._results.put(self._untried(path, why))

    def _left_s(self) -> float | None:
        deadline_s = self._terms.deadline_s
        return None if deadline_s is None else max(0.0, self._began + deadline_s - time.monotonic())

    def _hopeless(self, left_s: float | None) -> str | None:
        """Why no other journal is worth a try."""
        if self._outage.is_on:
            return f"not tried, as the tracker is down: {self._outage.why}"
        return "not tried: the deadline is over" if left_s == 0 else None

    def _give_up(self, why: str) -> None:
        while self._pending:
            self._results.put(self._untried(self._pending.popleft(), why))

    def _untried(self, path: Path, why: str) -> Result:
        try:
            return Result(path, Done(_as_it_stands(self._look(path), why)))
        except GradienceError as error:
            return Result(path, Refused(reason.of(error)))


def _as_it_stands(one: Standing, why: str) -> Outcome:
    if not one.behind:
        return Outcome(state=Delivery.UP_TO_DATE, line=one.line, runs=one.runs)
    return Outcome(state=Delivery.UNAVAILABLE, line=one.line, behind=one.behind, error=why, runs=one.runs)
