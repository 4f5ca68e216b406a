"""Suggested ranks per module for the terminal, and the settings to paste into a config."""

import json
from collections.abc import Iterable
from typing import Final

from gradience.policy import module_ranks
from gradience.policy.module_ranks import ModuleRank, ModuleRanks
from gradience.report.layout import block, labelled, table
from gradience.report.numbers import count, number, percent

COLUMNS: Final = ("module", "r", "k", "suggested", "alpha", "energy kept")


def render(ranks: ModuleRanks, rows: Iterable[ModuleRank], *, settings: bool = True) -> list[str]:
    """Two blocks: the modules in `rows`, and the settings of all, which only PEFT takes."""
    title = f"Suggested rank per module, for compression after training ({ranks.energy_level:.0%} energy)"
    whole = (
        f"All of it: {count(ranks.params)} -> {count(ranks.params_suggested)} parameters, "
        f"{percent(ranks.energy_kept)} of the energy. A hypothesis: compare both on held-out data."
    )
    # JSON escapes what could steer a terminal.
    lines = json.dumps(module_ranks.settings(ranks), indent=2).splitlines() if settings else []
    return [
        *block(title, table(COLUMNS, map(_row, rows))),
        *labelled("", whole, width=0),
        *(block("As settings of adapter_config.json or LoraConfig", lines) if lines else []),
    ]


def withheld(reason: str) -> list[str]:
    """A block that says why there is none."""
    return block("Suggested rank per module", labelled("", reason, width=0))


def _row(row: ModuleRank) -> tuple[str, ...]:
    cells = (row.r, row.energy_rank, row.suggested_rank)
    name = row.name if row.sharing == 1 else f"{row.name} ({row.sharing} share it)"
    return (name, *map(str, cells), number(row.alpha), percent(row.energy_kept))
