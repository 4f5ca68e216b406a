"""What the template of a run's report draws: every text ready, and nothing that a template would have to decide."""

from collections.abc import Sequence

import msgspec

from gradience.report.html.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Figure


class Frame(msgspec.Struct, frozen=True):
    """The measures of every chart."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


class Pair(msgspec.Struct, frozen=True):
    """A value and what it is."""

    label: str
    value: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding or an alert; `kind` is its severity."""

    kind: str
    code: str
    confidence: str
    message: str
    parts: Sequence[Pair] = ()
    origin: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A section with a table; `chosen` is the row that stands out, `more` tells what was left out."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    text: str = ""
    more: str = ""
    figure: Figure | None = None
    chosen: int | None = None
    is_wide: bool = False


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report."""

    title: str
    status: str
    status_kind: str
    subtitle: str
    source: str
    tiles: Sequence[Pair]
    findings: Sequence[Finding]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    reading: str
    made: str
    frame: Frame = Frame()
