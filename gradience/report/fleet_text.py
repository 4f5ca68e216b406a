"""Audits of many adapters for the terminal: one row each, and below it why some have none."""

from collections.abc import Sequence
from typing import Final

from gradience.fleet import table
from gradience.fleet.row import REFUSED, Row
from gradience.report.layout import block, heading, labelled
from gradience.report.layout import table as aligned
from gradience.report.numbers import MISSING, count, percent

COLUMNS: Final = (
    "adapter", "verdict", "codes", "modules", "r", "suggested", "params", "surplus", "rank waste", "util.",
)  # fmt: skip
LEFT: Final = 4  # columns of words


def render(rows: Sequence[Row], *, top: int = 0) -> str:
    """The table in the order of `rows`, the first `top` of them if that is not 0, and every refusal."""
    sums = table.totals(rows)
    audited = [row for row in rows if row.error is None]
    shown = audited[:top] if top else audited
    lines = [
        f"{heading('LoRA audit')}  {sums.adapters} adapters, {sums.refused} of them refused",
        "",
        f"  {count(sums.params)} parameters, {count(sums.surplus_params)} surplus: beyond the 95% energy ranks",
        *block("Adapters" + f" (first {top})" * bool(top), aligned(COLUMNS, map(_row, shown), left=LEFT)),
    ]
    refused = [line for row in rows if row.error for line in labelled(REFUSED, f"{row.name}: {row.error}")]
    return "\n".join([*lines, *(block("Not audited", refused) if refused else [])])


def _row(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.verdict,
        " ".join(row.codes) or MISSING,
        ", ".join(f"{number} {kind}" for kind, number in row.kinds.items()),
        str(row.r),
        MISSING if row.suggested_rank is None else str(row.suggested_rank),
        count(row.params),
        count(row.surplus_params),
        percent(row.rank_waste),
        percent(row.utilization),
    )
