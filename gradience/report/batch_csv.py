"""Audits of many adapters as CSV (RFC 4180): a header, then one line for each adapter, refused ones too."""

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

from gradience.batch.row import Row

COLUMNS: Final = Row.__struct_fields__


def render(rows: Iterable[Row]) -> str:
    """All of it; what is not known is an empty cell, lists are separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return " ".join(f"{name}={number}" for name, number in value.items())
    return " ".join(value) if isinstance(value, tuple) else value
