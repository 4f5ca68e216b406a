"""Recorded runs side by side as a page: their curves in one chart each, a row for each, the settings that differ."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradience import __version__
from gradience.curves import course
from gradience.curves.curve import Curve
from gradience.report import runs, runs_text
from gradience.report.html import course_charts, rendering
from gradience.report.html.chart import Chart, Figure, Line, draw
from gradience.report.html.page import Page, Pair, Table
from gradience.report.html.words import cut, told
from gradience.report.numbers import MISSING, number
from gradience.report.runs import Course, Run

DRAWN: Final = 12  # runs: more lines than that cannot be told apart
EVALUATIONS_SHOWN: Final = 6  # charts of them
ROWS_SHOWN: Final = 200
READING: Final = "Lines of training loss are exponentially weighted means (weight 0.05 for each logged point)."


def render(found: Sequence[Course]) -> str:
    """The page as one HTML file."""
    return rendering.render(page(found))


def page(found: Sequence[Course]) -> Page:
    """What the page says; a run that could not be read says why."""
    known = [one for one in found if one.run.error is None]
    broken = [one.run for one in found if one.run.error is not None]
    files = [one.run.file for one in known]
    names = runs_text.short(files) if files else []
    named = dict(zip(names, known, strict=True))
    tables = [_rows(named), _settings(named), _unread(broken)]
    return Page(
        title=f"{len(known)} runs",
        status=f"{len(broken)} could not be read" if broken else "",
        status_kind="error",
        subtitle=f"The first {DRAWN} of them are drawn." if len(known) > DRAWN else "",
        source=", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else ""),
        tiles=_tiles(named),
        findings=None,
        figures=_figures({name: one.curves for name, one in list(named.items())[:DRAWN]}),
        tables=[one for one in tables if one is not None],
        reading=READING,
        made=f"Made by gradience {__version__} from the telemetry alone.",
    )


def _tiles(named: Mapping[str, Course]) -> list[Pair]:
    """Which of the runs has the lowest loss, in training and in each evaluation."""
    losses = {name: one.run.best_train_loss for name, one in named.items() if one.run.best_train_loss is not None}
    best = {"lowest train loss": losses}
    for name, one in named.items():
        for split, found in one.run.evals.items():
            sign = -1 if found.metric in runs.HIGHER_IS_BETTER else 1
            best.setdefault(f"best {split} {found.metric}", {})[name] = sign * found.value
    return [
        Pair(f"{what}: {leader}", number(abs(values[leader])))
        for what, values in list(best.items())[:4]
        if values
        for leader in [min(values, key=lambda name: values[name])]
    ]


def _figures(curves: Mapping[str, Mapping[str, Curve]]) -> list[Figure]:
    steps = course_charts.reach(curve for some in curves.values() for curve in some.values())
    trained = [
        Line(name=name, points=line.points)
        for name, some in curves.items()
        for line in course_charts.smoothed(name, some.get("loss"))
    ]
    charts = [Chart(title="Training loss", lines=trained, steps=steps, may_be_log=True)]
    for evaluation in _evaluations(curves):
        split, metric = course.judged(evaluation) or ("", "")
        lines = [
            course_charts.plain(name, some[evaluation].buckets)
            for name, some in curves.items()
            if evaluation in some and some[evaluation].buckets
        ]
        charts.append(Chart(title=f"{split}: {metric}", lines=lines, steps=steps, may_be_log=metric in ("loss", "ppl")))
    return [figure for chart in charts if (figure := draw(chart)) is not None]


def _evaluations(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """Those that most runs have come first."""
    names = [
        name
        for some in curves.values()
        for name in some
        if (judged := course.judged(name)) and (judged[1] == "loss" or judged[1] not in course_charts.NOT_SHOWN)
    ]
    return sorted(dict.fromkeys(names), key=lambda name: -names.count(name))[:EVALUATIONS_SHOWN]


def _rows(named: Mapping[str, Course]) -> Table | None:
    splits = list(dict.fromkeys(split for one in named.values() for split in one.run.evals))
    header, rows = runs_text.table_of({name: one.run for name, one in named.items()}, splits)
    return Table(title="Runs", header=header, rows=rows) if rows else None


def _settings(named: Mapping[str, Course]) -> Table | None:
    differing = runs.differing([one.run for one in named.values()])
    rows = [
        [key, *(MISSING if value is None else told(value) for value in values)] for key, values in differing.items()
    ]
    if not rows:
        return None
    more = f"And {len(rows) - ROWS_SHOWN} more." if len(rows) > ROWS_SHOWN else ""
    return Table(title="Settings that differ", header=("setting", *named), rows=rows[:ROWS_SHOWN], more=more)


def _setting(value: Any) -> str:
    return MISSING if value is None else told(value)


def _unread(broken: Sequence[Run]) -> Table | None:
    rows = [[one.file, cut(one.error or "")] for one in broken]
    return Table(title="Could not be read", rows=rows, is_wide=True) if rows else None
