"""`gradience sync` of several journals: a few processes share them, and each result is told as it comes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gradience.cli import outcome
from gradience.cli.meter import Meter
from gradience.cli.request import Request
from gradience.mirror.fleet.crew import Crew
from gradience.mirror.fleet.errand import Done
from gradience.mirror.fleet.outage import Outage
from gradience.mirror.fleet.sweep import Result, Sweep, Terms
from gradience.mirror.sync import PATIENCE_S

WORKERS: Final = 4  # each holds the tracker's library: some 200 MB with MLflow


def sweep(journals: Sequence[Path], request: Request) -> int:
    """Deliver every journal; the exit code for all of them."""
    size = min(WORKERS, len(journals))
    with Meter(journals, request.label) as meter:
        agenda = Sweep(journals, _terms(request), Outage(size + 1), request.standing, meter.show)
        crew = Crew(request.setup(), agenda, size)
        crew.start()
        try:
            return outcome.worst([_tell(result, request, meter) for result in agenda.results()])
        finally:
            crew.end()


def _terms(request: Request) -> Terms:
    patience_s = PATIENCE_S if request.deadline_s is None else None
    return Terms(deadline_s=request.deadline_s, patience_s=patience_s, from_start=request.from_start)


def _tell(result: Result, request: Request, meter: Meter) -> int:
    meter.clear()
    if isinstance(result.answer, Done):
        return outcome.tell(result.path, result.answer.outcome, request)
    return outcome.refuse(result.answer.why)
