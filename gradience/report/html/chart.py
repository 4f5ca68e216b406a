"""A chart as places on paper: numbers and steps in, SVG paths and labels out; the template only draws them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from gradience.report.html.scale import Scale, Tick, fitting
from gradience.report.numbers import count, number

DOTS_UP_TO: Final = 60  # points of a line that are marked one by one

Point = tuple[float, float]


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The paper of a chart, and on it the area that is drawn into, in pixels; how many ticks an axis has there."""

    width: int = 760
    height: int = 220
    left: int = 62
    right: int = 738
    top: int = 12
    bottom: int = 192
    x_ticks: int = 6
    y_ticks: int = 5


LARGE: Final = Frame()
SMALL: Final = Frame(width=240, height=140, left=40, right=228, top=12, bottom=112, x_ticks=4, y_ticks=3)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of points (step, value); what it is the trend of is a band of extremes at each point, or `raw` values."""

    name: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float]] = ()
    raw: Sequence[Point] = ()
    has_dots: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something at a step, drawn across the chart; `kind` is a severity."""

    step: float
    kind: str
    label: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be drawn. `steps` is the range that all charts of a report share, `values` one for some of them."""

    title: str
    lines: Sequence[Line]
    steps: tuple[float, float]
    events: Sequence[Event] = ()
    may_be_log: bool = False
    x_name: str = "step"
    values: tuple[float, float] | None = None
    ladder: Sequence[float] = ()  # ascending steps that the axis names instead of round ones, apart by their ratios
    frame: Frame = LARGE


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """One line: its paths, and the places of its dots."""

    name: str
    path: str
    raw: str
    area: str
    dots: list[Point]
    last: str


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One event at its place."""

    x: float
    kind: str
    label: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with everything at its place. `note` tells what the axis leaves out."""

    title: str
    lines: list[Drawn]
    flags: list[Flag]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_name: str
    note: str
    summary: str  # for who cannot see it
    frame: Frame


def draw(chart: Chart) -> Figure | None:
    """The figure; None where there is nothing to draw."""
    values, frame = list(_heights(chart.lines)), chart.frame
    y = fitting(chart.values or values, frame.bottom, frame.top, may_be_log=chart.may_be_log)
    x = fitting(chart.steps, frame.left, frame.right)
    if len(chart.ladder) > 1:
        x = Scale(low=chart.ladder[0], high=chart.ladder[-1], start=frame.left, end=frame.right, is_log=True)
    lines = [line for line in chart.lines if line.points]
    if x is None or y is None or not lines:
        return None
    return Figure(
        title=chart.title,
        lines=[_drawn(line, x, y) for line in lines],
        flags=[Flag(x=x(event.step), kind=event.kind, label=event.label) for event in chart.events],
        x_ticks=[Tick(x(step), count(step)) for step in chart.ladder] or x.ticks(frame.x_ticks, count),
        y_ticks=y.ticks(frame.y_ticks),
        x_name=chart.x_name,
        note=_note(values, y),
        summary="; ".join(_told(line, chart.x_name) for line in lines),
        frame=frame,
    )


def _heights(lines: Iterable[Line]) -> Iterator[float]:
    for line in lines:
        yield from (value for _, value in [*line.points, *line.raw])
        yield from (edge for edges in line.band for edge in edges)


def _drawn(line: Line, x: Scale, y: Scale) -> Drawn:
    places = [(x(step), y(value)) for step, value in line.points]
    dots = places if len(places) == 1 or (line.has_dots and len(places) <= DOTS_UP_TO) else []
    return Drawn(
        name=line.name,
        path=_path(places),
        raw=_path((x(step), y(value)) for step, value in line.raw) if line.raw else "",
        area=_area(line, x, y),
        dots=dots,
        last=number(line.points[-1][1]),
    )


def _area(line: Line, x: Scale, y: Scale) -> str:
    """The outline of the band: along its upper edge, and back along the lower one."""
    if not line.band:
        return ""
    edges = [(x(step), y(low), y(high)) for (step, _), (low, high) in zip(line.points, line.band, strict=True)]
    upper, lower = [(at, high) for at, _, high in edges], [(at, low) for at, low, _ in reversed(edges)]
    return f"{_path([*upper, *lower])}Z"


def _path(places: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in places)


def _note(values: Sequence[float], y: Scale) -> str:
    beyond = [value for value in values if not y.low <= value <= y.high]
    if not beyond:
        return ""
    edge = max(beyond) if max(beyond) > y.high else min(beyond)
    return f"The axis leaves out what lies far from the rest, up to {number(edge)}."


def _told(line: Line, x_name: str) -> str:
    (first, begin), (last, end) = line.points[0], line.points[-1]
    return f"{line.name} from {number(begin)} at {x_name} {first:.0f} to {number(end)} at {x_name} {last:.0f}"
