"""The table of the fault matrix."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tests.integrations.faults.seen import Account

_PROPERTY: Final = "fault"  # of a test's report
_HEADS: Final = ("fault", "appended", "seen", "twice", "dead", "lost", "append ms", "close s", "MiB grown", "remarks")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: what it did to delivery, and to the training. None where it says nothing about that."""

    fault: str
    account: Account
    longest_s: float
    close_s: float | None = None
    grown_kib: float | None = None
    remarks: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As it is printed."""
        found = self.account
        counts = (found.appended, found.seen, found.duplicates, found.dead, found.lost)
        close = "" if self.close_s is None else f"{self.close_s:.1f}"
        grown = "" if self.grown_kib is None else f"{self.grown_kib / 1024:+.1f}"
        return (self.fault, *map(str, counts), f"{1000 * self.longest_s:.1f}", close, grown, self.remarks)


def properties(rows: Iterable[Row]) -> list[tuple[str, object]]:
    """Rows as a test's report takes them along, from one process to another, too."""
    return [(_PROPERTY, msgspec.json.encode(row).decode()) for row in rows]


def rows(properties: Iterable[tuple[str, object]]) -> list[Row]:
    """The rows that a report brought."""
    return [msgspec.json.decode(str(value), type=Row) for name, value in properties if name == _PROPERTY]


def lines(rows: Iterable[Row]) -> list[str]:
    """The table as text."""
    cells = [_HEADS, *(row.cells for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in cells]


def _aligned(row: tuple[str, ...], widths: list[int]) -> Iterable[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if column in (0, len(widths) - 1) else cell.rjust(width)
