"""A table of coloured cells as places on paper: names and shares in, rectangles and labels out."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

RIGHT: Final = 738  # of the cells, as of charts
WIDTH: Final = 760
TOP: Final = 6
ROW: Final = 24  # height of a row of cells, and of the line of names below them
CELL: Final = 44  # the width of a cell, at most ...
READABLE: Final = 22  # ... and at least where a text stands in it
LETTER: Final = 6.6  # width of one in a name
NAME_SHOWN: Final = 24  # letters of a row's name: its end tells more
SHADES: Final = 10


class Value(msgspec.Struct, frozen=True):
    """A cell's share of 0..1, the text in it where there is room, and what it says when it is pointed at."""

    share: float
    text: str
    hint: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle; `shade` of 0..SHADES tells its colour."""

    x: float
    y: float
    shade: int
    text: str
    hint: str


class Label(msgspec.Struct, frozen=True):
    """The name of a row or a column at its place."""

    at: float
    text: str


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map with everything at its place; `left` is where the cells begin, all of them `cell` wide."""

    title: str
    column_name: str
    cells: list[Cell]
    rows: list[Label]
    columns: list[Label]
    left: float
    cell: float
    bottom: float
    row: int = ROW
    width: int = WIDTH
    shades: int = SHADES


def draw(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Mapping[tuple[int, int], Value], column_name: str
) -> HeatMap:
    """The map of values by (row, column), each an index; where there is no value the paper shows."""
    names = [name if len(name) <= NAME_SHOWN else f"…{name[1 - NAME_SHOWN :]}" for name in rows]
    left = round(max(map(len, [*names, column_name])) * LETTER) + 16.0
    cell = min(float(CELL), round((RIGHT - left) / len(columns), 2))
    every = -(-READABLE // cell)  # columns that share one name, because it is wider than they are
    bottom = TOP + ROW * len(rows)
    return HeatMap(
        title=title,
        column_name=column_name,
        cells=[
            Cell(
                x=round(left + column * cell, 2),
                y=TOP + row * ROW,
                shade=round(min(max(value.share, 0.0), 1.0) * SHADES),
                text=value.text if cell >= READABLE else "",
                hint=value.hint,
            )
            for (row, column), value in sorted(values.items())
        ],
        rows=[Label(TOP + (index + 0.5) * ROW + 4, name) for index, name in enumerate(names)],
        columns=[
            Label(round(left + (index + 0.5) * cell, 2), name)
            for index, name in enumerate(columns)
            if index % every == 0
        ],
        left=left,
        cell=cell,
        bottom=bottom,
    )
