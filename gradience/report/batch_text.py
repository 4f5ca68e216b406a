"""Audits of many adapters for the terminal: one row each, and below it why some have none."""

from collections.abc import Sequence
from typing import Final

from gradience.batch import row, table
from gradience.batch.row import REFUSED, Row
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
    shown = [one for one in row.first(rows, top) if one.error is None]
    lines = [
        f"{heading('LoRA audit')}  {_number(sums.adapters)}" + f", {sums.refused} of them refused" * bool(sums.refused)
    ]
    if shown:
        surplus = f"{count(sums.surplus_params)} surplus: beyond the 95% energy ranks"
        title = "Adapters" + f" (first {top})" * bool(top)
        lines += ["", f"  {count(sums.params)} parameters, {surplus}"]
        lines += block(title, aligned(COLUMNS, map(_row, shown), left=LEFT))
    refused = [line for one in rows if one.error for line in labelled(REFUSED, f"{one.name}: {one.error}")]
    return "\n".join([*lines, *(block("Not audited", refused) if refused else [])])


def _number(adapters: int) -> str:
    return f"{adapters} adapter" + "s" * (adapters != 1)


def _row(one: Row) -> tuple[str, ...]:
    return (
        one.name,
        one.verdict,
        " ".join(one.codes) or MISSING,
        ", ".join(f"{number} {kind}" for kind, number in one.kinds.items()),
        str(one.r),
        MISSING if one.suggested_rank is None else str(one.suggested_rank),
        count(one.params),
        count(one.surplus_params),
        percent(one.rank_waste),
        percent(one.utilization),
    )
