"""A series of audits for the terminal: one row per checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gradience.policy.series import Point
from gradience.report.layout import heading, table
from gradience.report.numbers import MISSING, fixed, number, percent
from gradience.report.plain import plain

COLUMNS: Final = (
    "adapter", "step", "k@95 p50/p90", "stable rank", "util.", "rank waste", "|dW| mean", "sigma max", "verdict",
)  # fmt: skip


def render(folder: Path, points: Sequence[Point]) -> str:
    """The table, and below it which adapters are the same."""
    lines = [f"{heading('LoRA audit series')}  {plain(folder)}", ""]
    lines += table(COLUMNS, [_row(folder, one) for one in points])
    same = [(one.peft_dir, one.same_as) for one in points if one.same_as is not None]
    notes = [f"{_name(folder, new)} is the same adapter as {_name(folder, old)}" for new, old in same]
    return "\n".join([*lines, *([""] if notes else []), *(f"  {plain(note)}" for note in notes)])


def _row(folder: Path, one: Point) -> tuple[str, ...]:
    step = MISSING if one.step is None else str(one.step)
    if one.summary is None or one.advice is None:
        return (_name(folder, one.peft_dir), step, *[MISSING] * (len(COLUMNS) - 3), "not audited")
    summary = one.summary
    return (
        _name(folder, one.peft_dir),
        step,
        f"{number(summary.energy_rank_95_p50)}/{number(summary.energy_rank_95_p90)}",
        fixed(summary.stable_rank_mean),
        percent(summary.utilization_mean),
        percent(summary.rank_waste),
        number(summary.delta_frob_norm_scaled_mean),
        number(summary.delta_sigma_max_scaled_mean),
        one.advice.verdict,
    )


def _name(folder: Path, path: str) -> str:
    return "final" if Path(path) == folder else Path(path).name
