"""Where in a model the rank is used: the share k@95 / r of each target in each layer."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from gradience.audit import layers
from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.report.html import heat_map
from gradience.report.html.heat_map import HeatMap, Value
from gradience.report.numbers import percent

ROWS_SHOWN: Final = 40
OUTSIDE: Final = "-"  # the column of modules in no layer
TITLE: Final = "Rank used, k@95 / r"


def draw(record: AuditRecord) -> HeatMap:
    """The map. Of modules that share a cell, experts for one, the one that uses most of its rank is shown."""
    placed = sorted(((_row(module), _column(module), module) for module in record.modules), key=lambda one: one[:2])
    rows = list(dict.fromkeys(row for row, _, _ in placed))[:ROWS_SHOWN]
    columns = sorted({column for _, column, _ in placed})
    values = {
        (rows.index(row), columns.index(column)): _value([module for _, _, module in group])
        for (row, column), group in groupby(placed, key=lambda one: one[:2])
        if row in rows
    }
    return heat_map.draw(TITLE, _names(rows), [_name(column) for column in columns], values, "layer")


def hidden(record: AuditRecord) -> int:
    """How many rows the map leaves out."""
    return max(0, len({_row(module) for module in record.modules}) - ROWS_SHOWN)


def _row(module: ModuleAudit) -> tuple[str, str]:
    """The stack of layers and the target: an encoder's q_proj is not a decoder's."""
    path = layers.layer_path(module.name)
    return "" if path is None else path.rpartition(".")[0], module.target


def _column(module: ModuleAudit) -> tuple[bool, int]:
    """Modules in no layer come last."""
    return module.layer is None, module.layer or 0


def _name(column: tuple[bool, int]) -> str:
    is_outside, layer = column
    return OUTSIDE if is_outside else str(layer)


def _names(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Targets alone where all layers are in one stack."""
    is_one = len({stack for stack, _ in rows if stack}) < 2
    return [target if is_one or not stack else f"{stack} {target}" for stack, target in rows]


def _value(modules: Sequence[ModuleAudit]) -> Value:
    most = max(modules, key=lambda module: module.energy_rank_95 / module.r)
    share = most.energy_rank_95 / most.r
    more = f", the most of {len(modules)} modules" if len(modules) > 1 else ""
    hint = f"{most.name}: k@95 {most.energy_rank_95} of r={most.r}, {percent(share)}{more}"
    return Value(share, str(most.energy_rank_95), hint)
