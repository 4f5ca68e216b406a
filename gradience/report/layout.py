"""Blocks of terminal text: headings, aligned tables, labelled and wrapped lines. Colour is click's to drop."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

import click

from gradience.report.plain import plain

WIDTH: Final = 100
INDENT: Final = "  "


def heading(text: str) -> str:
    """A line that starts a block."""
    return click.style(text, bold=True)


def labelled(label: str, text: str, *, width: int = 12) -> list[str]:
    """A label in its own column, the text wrapped beside it."""
    return textwrap.wrap(
        plain(text),
        width=WIDTH,
        initial_indent=f"{INDENT}{label:<{width}}",
        subsequent_indent=" " * (len(INDENT) + width),
        break_on_hyphens=False,
        break_long_words=False,
    ) or [f"{INDENT}{label}"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """Aligned columns: the first `left` to the left, numbers to the right."""
    body = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    head, *lines = (_line(row, widths, left) for row in [list(header), *body])
    return [click.style(head, dim=True), *lines]


def block(title: str, lines: Iterable[str]) -> list[str]:
    """A titled block, with an empty line before it."""
    return ["", heading(title), *lines]


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    aligned = [
        cell.ljust(width) if index < left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return (INDENT + "  ".join(aligned)).rstrip()
