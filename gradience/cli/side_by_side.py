"""Several recorded runs: the one table that `monitor` and `compare` print."""

import sys
from collections.abc import Sequence
from typing import Final

from gradience.cli import output, recorded
from gradience.cli.bar import Bar
from gradience.cli.recorded import Asked
from gradience.errors import GradienceError
from gradience.policy import monitor
from gradience.report import runs, runs_text
from gradience.vnext.types import Recommendation

UNUSABLE: Final = 1


def show(places: Sequence[str], asked: Asked, *, as_json: bool, fail_on: str | None = None) -> None:
    """Print the table, or its document; ends with exit code 1 if one of the runs could not be read."""
    found: list[runs.Run] = []
    judged: list[Recommendation] = []
    with Bar("Reading runs") as bar:
        for place in places:
            found.append(_row(place, asked, judged))
            bar(len(found), len(places))
    if as_json:
        output.document(runs.document(found))
    else:
        output.lines(runs_text.render(found))
    if any(one.error for one in found):
        sys.exit(UNUSABLE)
    output.enforce(judged, fail_on)


def _row(place: str, asked: Asked, judged: list[Recommendation]) -> runs.Run:
    """What could not be read has a row that says why; what was found is added to `judged`."""
    try:
        one = recorded.read(place, asked)
    except GradienceError as error:
        return runs.Run(file=place, error=str(error))
    judged += monitor.everything(one.seen, one.found)
    return runs.run(place, one.seen, one.replay.course.curves(), one.found, one.replay.fired)
