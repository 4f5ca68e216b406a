"""An audit against its baseline for the terminal: both in numbers, then what is worse."""

from collections.abc import Sequence
from typing import Final

from gradience.policy.regression import Facts
from gradience.report import finding_text
from gradience.report.layout import block, table
from gradience.report.numbers import count, number, percent
from gradience.vnext.types import Recommendation

COLUMNS: Final = ("", "baseline", "now")
NONE: Final = "  No regression. That does not show that it is better: only an evaluation does."


def render(now: Facts, before: Facts, found: Sequence[Recommendation]) -> list[str]:
    """A block to follow the report."""
    rows = [
        ("modules", str(before.n_layers), str(now.n_layers)),
        ("parameters", count(before.total_lora_params), count(now.total_lora_params)),
        ("rank waste", percent(before.rank_waste), percent(now.rank_waste)),
        ("sigma max", number(before.sigma_max), number(now.sigma_max)),
        ("|dW|", number(before.fro_norm), number(now.fro_norm)),
    ]
    told = [line for one in found for line in ["", *finding_text.full(one)]]
    return block(f"Against {before.peft_dir}", [*table(COLUMNS, rows), *(told or ["", NONE])])
