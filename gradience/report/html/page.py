"""What the template of a report draws: every text ready, and nothing that a template would have to decide."""

from collections.abc import Sequence

import msgspec

from gradience.report.html.chart import Figure
from gradience.report.html.heat_map import HeatMap


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
    """A section with pictures and a table; `chosen` is the row that stands out, `more` tells what was left out."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    text: str = ""
    more: str = ""
    heat_map: HeatMap | None = None
    figures: Sequence[Figure] = ()
    small_figures: Sequence[Figure] = ()  # side by side
    chosen: int | None = None
    is_wide: bool = False


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report."""

    title: str
    status: str = ""  # and the kind of it: a severity, or ok
    status_kind: str = "info"
    subtitle: str = ""
    source: str = ""
    tiles: Sequence[Pair]
    findings: Sequence[Finding] | None  # None where nothing was judged
    commands: Sequence[str] = ()  # that test what was found
    tables: Sequence[Table]
    figures: Sequence[Figure] = ()  # of the run's course, and how to read them
    reading: str = ""
    made: str
