"""A share of each module of an adapter, where it is in the model: a row for each target, a column for each layer."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from gradience.audit import layers
from gradience.report.html import heat_map
from gradience.report.html.heat_map import HeatMap, Value

ROWS_SHOWN: Final = 40
OUTSIDE: Final = "-"  # the column of modules in no layer

Row = tuple[str, str]  # the stack of layers and the target: an encoder's q_proj is not a decoder's
Column = tuple[bool, int]  # modules in no layer come last


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A module with the share of 0..1 that its colour tells, a text for its cell, and what it says more."""

    name: str
    share: float
    text: str
    hint: str


def draw(title: str, modules: Iterable[Measured], first: str) -> HeatMap:
    """The map. Of modules that share a cell, experts for one, the first in order is shown: `first` says which it is."""
    cells: dict[tuple[Row, Column], list[Measured]] = {}
    for module in modules:
        cells.setdefault((_row(module.name), _column(module.name)), []).append(module)
    rows = sorted({row for row, _ in cells})[:ROWS_SHOWN]
    columns = sorted({column for _, column in cells})
    values = {
        (rows.index(row), columns.index(column)): _value(found, first)
        for (row, column), found in cells.items()
        if row in rows
    }
    return heat_map.draw(title, _names(rows), [_name(column) for column in columns], values, "layer")


def hidden(names: Iterable[str]) -> int:
    """How many rows the map of these modules leaves out."""
    return max(0, len({_row(name) for name in names}) - ROWS_SHOWN)


def _row(name: str) -> Row:
    path = layers.layer_path(name)
    return "" if path is None else path.rpartition(".")[0], layers.target(name)


def _column(name: str) -> Column:
    layer = layers.layer_index(name)
    return layer is None, layer or 0


def _name(column: Column) -> str:
    is_outside, layer = column
    return OUTSIDE if is_outside else str(layer)


def _names(rows: Sequence[Row]) -> list[str]:
    """Targets alone where all layers are in one stack."""
    is_one = len({stack for stack, _ in rows if stack}) < 2
    return [target if is_one or not stack else f"{stack} {target}" for stack, target in rows]


def _value(found: Sequence[Measured], first: str) -> Value:
    shown = found[0]
    more = f", {first} of {len(found)} modules" if len(found) > 1 else ""
    return Value(shown.share, shown.text, f"{shown.name}: {shown.hint}{more}")
