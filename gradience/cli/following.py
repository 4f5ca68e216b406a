"""`gradience sync --follow`: one standing service that keeps a tracker up to date with the journals of a node."""

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from gradience.cli import outcome, output
from gradience.cli.request import Request
from gradience.errors import GradienceError
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet.crew import Crew
from gradience.mirror.fleet.outage import Outage
from gradience.mirror.fleet.standing import Standing
from gradience.mirror.fleet.watch import Watch
from gradience.mirror.fleet.watched import Watched
from gradience.report.plain import plain

WORKERS: Final = 4  # each holds the tracker's library while there is something to deliver
DEADLINE_S: Final = 30.0
POLL_S: Final = 2.0
LAG_S: Final = 60.0  # a lag is told this often, and only one that is older
LOOK_S: Final = 0.1  # between two looks while it ends
LEAVE_S: Final = 2.0  # for workers that were ended to be gone


def follow(places: Sequence[Path], requests: Sequence[Request]) -> int:
    """Deliver until SIGTERM or SIGINT; the exit code for it."""
    told = _told_to_leave()
    services = [_Service(places, request) for request in requests]
    for place in places:
        if not place.exists():
            output.talk(f"{plain(place)} is not there yet.")
    try:
        for service in services:
            service.start()
        while not _is_told(told):
            for service in services:
                service.look()
        _leave(services, requests[0].deadline_s)
    finally:
        for service in services:
            service.end()
    return outcome.worst([code for service in services for code in service.results()])


def _leave(services: Sequence["_Service"], deadline_s: float | None) -> None:
    limit_s = DEADLINE_S if deadline_s is None else deadline_s
    output.talk(f"Leaving: what is there is delivered, for at most {limit_s:.0f} s.")
    for service in services:
        service.hurry(limit_s)
    while services:
        services = [service for service in services if not service.is_over()]


class _Service:
    """One tracker: its journals, and the processes that deliver them."""

    def __init__(self, places: Sequence[Path], request: Request) -> None:
        self._places = places
        self._request = request
        longest_wait_s = request.wish.tempo().longest_wait_s
        self._watch = Watch(places, Outage(WORKERS + 1), WORKERS, request.state_dir, longest_wait_s)
        self._crew = Crew(request.setup(), self._watch, WORKERS)
        self._lag = _Lag(self._watch, request)

    def start(self) -> None:
        """Begin."""
        output.talk(f"Following {', '.join(plain(place) for place in self._places)} -> {self._request.label}.")
        self._crew.start()

    def look(self) -> None:
        """Find out what there is to do, and how far it lags."""
        self._watch.look()
        self._lag.tell()

    def hurry(self, deadline_s: float) -> None:
        """Deliver what is there now, and nothing that comes later."""
        self._watch.look()
        self._watch.hurry(deadline_s)
        self._crew.hurry()

    def is_over(self) -> bool:
        """Whether all of that is done; looks once more, and takes a moment for it."""
        if not self._watch.is_over():
            self._watch.look()
            self._crew.wait(LOOK_S)
        return self._watch.is_over()

    def end(self) -> None:
        """End every process."""
        self._crew.end()
        self._crew.wait(LEAVE_S)

    def results(self) -> list[int]:
        """Tell what became of each journal; the exit codes."""
        return [_result(watched, self._request) for watched in self._watch]


def _told_to_leave() -> "SimpleQueue[int]":
    """Gets the first signal; the second one is not waited for.

    An event would not do: set by a signal in the midst of its own `wait`, it waits for a lock that its caller holds.
    """
    told: SimpleQueue[int] = SimpleQueue()

    def leave(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        told.put(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    return told


def _is_told(told: "SimpleQueue[int]") -> bool:
    """Whether a signal came, at the latest after a while."""
    try:
        told.get(timeout=POLL_S)
    except Empty:
        return False
    return True


def _result(watched: Watched, request: Request) -> int:
    """Tell what became of a journal, if there is anything to tell."""
    if watched.is_refused:
        return outcome.refuse(watched.trouble or "")
    found = watched.outcome
    if found.state is not Delivery.UP_TO_DATE or watched.trouble or watched.at_work:
        try:
            found = _as_it_stands(found, request.standing(watched.path), watched.trouble)
        except GradienceError as error:
            return outcome.refuse(str(error))
    idle = found.state is Delivery.UP_TO_DATE and not (found.sent or found.rejected or found.skipped)
    return 0 if idle and not request.as_json else outcome.tell(watched.path, found, request)


def _as_it_stands(found: Outcome, one: Standing, trouble: str | None) -> Outcome:
    """The counts of this service's own visits, and the place of whoever delivered."""
    if not one.behind and one.state is not Delivery.PARKED:
        return msgspec.structs.replace(found, state=Delivery.UP_TO_DATE, line=one.line, behind=0, runs=one.runs)
    state = Delivery.BEHIND if one.state is Delivery.UP_TO_DATE else one.state
    error = trouble or one.error
    return msgspec.structs.replace(found, state=state, line=one.line, behind=one.behind, error=error, runs=one.runs)


class _Lag:
    """Says now and then how far behind the tracker is, and when it has caught up."""

    def __init__(self, watch: Watch, request: Request) -> None:
        self._watch = watch
        self._request = request
        self._looked_at = time.monotonic()
        self._said = False

    def tell(self) -> None:
        """Say it, not too often."""
        if time.monotonic() - self._looked_at < LAG_S:
            return
        behind = [one for watched in self._watch if (one := self._standing(watched)) and one.behind]
        self._looked_at = time.monotonic()
        oldest_s = max((one.lag_s or 0.0 for one in behind), default=0.0)
        if oldest_s >= LAG_S:
            lines = sum(one.behind for one in behind)
            why = next((f"; {plain(one.error)}" for one in behind if one.error), "")
            known = len(list(self._watch))
            output.talk(f"lag: {lines} lines in {len(behind)} of {known} journals, up to {oldest_s:.0f} s{why}")
        elif self._said:
            output.talk("lag: none")
        self._said = oldest_s >= LAG_S

    def _standing(self, watched: Watched) -> Standing | None:
        with suppress(GradienceError):
            return self._request.standing(watched.path)
        return None
