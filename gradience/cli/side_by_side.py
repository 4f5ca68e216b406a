"""Several recorded runs: the one table that `monitor` and `compare` print, and its page."""

import sys
from collections.abc import Sequence
from typing import Final

from gradience.cli import html, output, recorded
from gradience.cli.bar import Bar
from gradience.cli.recorded import Asked
from gradience.errors import GradienceError
from gradience.policy import monitor
from gradience.report import runs, runs_text
from gradience.report.runs import Course
from gradience.vnext.types import Recommendation

UNUSABLE: Final = 1


def show(places: Sequence[str], asked: Asked, *, page: str | None, as_json: bool, fail_on: str | None = None) -> None:
    """Print the table or its document, and write the page; ends with exit code 1 if a run could not be read."""
    found: list[Course] = []
    judged: list[Recommendation] = []
    with Bar("Reading runs") as bar:
        for place in places:
            found.append(_read(place, asked, judged))
            bar(len(found), len(places))
    rows = [one.run for one in found]
    if page is not None:
        html.write(_page(found), page)
    if as_json:
        output.document(runs.document(rows))
    elif page != html.STDOUT:
        output.lines(runs_text.render(rows))
    if any(one.error for one in rows):
        sys.exit(UNUSABLE)
    output.enforce(judged, fail_on)


def _read(place: str, asked: Asked, judged: list[Recommendation]) -> Course:
    """What could not be read has a row that says why; what was found is added to `judged`."""
    try:
        one = recorded.read(place, asked)
    except GradienceError as error:
        return Course(runs.Run(file=place, error=str(error)), {})
    judged += monitor.everything(one.seen, one.found)
    curves = one.replay.course.curves()
    return Course(runs.run(place, one.seen, curves, one.found, one.replay.fired), curves)


def _page(found: Sequence[Course]) -> str:
    from gradience.report.html import runs_report  # as in `html`

    return runs_report.render(found)
