"""The shape of an update, how its factors share it, and how even its layers are: a block for the terminal."""

from typing import Final

from gradience.audit.record import AuditRecord, Pooled
from gradience.report.layout import block, labelled, table
from gradience.report.numbers import fixed, number

COLUMNS: Final = ("type", "particip.", "nuclear rank", "s1/s2", "sr/s1", "|A|/|B|", "imbalance", "excess norm")


def render(record: AuditRecord) -> list[str]:
    """A row for each type of module, and one for all."""
    groups: list[tuple[str, Pooled]] = sorted(record.by_type.items())
    whole: list[tuple[str, Pooled]] = [("all", record.summary)] if len(groups) > 1 else []
    rows = [_row(name, group) for name, group in [*groups, *whole]]
    title = "Shape and balance (means of ranks and imbalance, medians of ratios)"
    return [*block(title, table(COLUMNS, rows)), *_layers(record)]


def _row(name: str, group: Pooled) -> tuple[str, ...]:
    return (
        name,
        fixed(group.participation_ratio_mean),
        fixed(group.nuclear_rank_mean),
        number(group.sigma_1_over_2_p50),
        number(group.sigma_r_over_1_p50),
        number(group.ab_norm_ratio_p50),
        fixed(group.ab_imbalance_mean),
        number(group.excess_norm_p50),
    )


def _layers(record: AuditRecord) -> list[str]:
    count = len(record.by_layer)
    if count < 2 or not record.summary.layer_energy_hhi:
        return []
    even = f"{number(1 / count)} would be even over {count} layers"
    return labelled(
        "", f"Concentration of the energy: {number(record.summary.layer_energy_hhi)}, where {even}.", width=0
    )
