"""The audit of an adapter: what each rank would keep of it, and where in the model its rank is used."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gradience.audit import columns
from gradience.audit.record import AuditRecord, ModuleAudit, NamedGroup
from gradience.errors import InputError
from gradience.policy import ranks
from gradience.policy.ranks import Candidate
from gradience.report.html import chart, module_map
from gradience.report.html.chart import Chart, Event, Figure, Line
from gradience.report.html.heat_map import HeatMap
from gradience.report.html.module_map import Measured
from gradience.report.html.page import Table
from gradience.report.numbers import MISSING, count, fixed, megabytes, number, percent

CANDIDATES: Final = ("rank", "energy kept", "relative error", "worst module", "parameters", "MB", "vLLM slot")
GROUPS: Final = ("target", "modules", "parameters", "k@95 p50 / p90", "stable rank", "energy", "rank waste")
TARGETS_SHOWN: Final = 24


def read(metrics: Mapping[str, Any] | None) -> AuditRecord | None:
    """The record of an event; None for somebody else's audit, or one of a version that this one cannot read."""
    try:
        return None if metrics is None else columns.unpack(metrics)
    except (InputError, LookupError, ValueError):
        return None


def tables(record: AuditRecord, advice: Mapping[str, Any], title: str, text: str) -> list[Table]:
    """Two sections: the ranks that the adapter could be compressed to, under this title and text, and its targets."""
    return [_ranks(record, advice, title, text), _targets(record)]


def told(record: AuditRecord) -> str:
    """What was audited, in a few words."""
    adapter, summary = record.adapter, record.summary
    return f"{adapter.kind}, r={adapter.r}, {count(summary.total_lora_params)} parameters in {summary.n_layers} modules"


def rank_map(record: AuditRecord) -> HeatMap:
    """Where in the model the rank is used. Of experts, which share a cell, the one that uses most of its rank."""
    fullest = sorted(record.modules, key=lambda module: -module.energy_rank_95 / module.r)
    return module_map.draw("Rank used, k@95 / r", map(_used, fullest), "the most")


def _used(module: ModuleAudit) -> Measured:
    rank, share = module.energy_rank_95, module.energy_rank_95 / module.r
    return Measured(
        name=module.name, share=share, text=str(rank), hint=f"k@95 {rank} of r={module.r}, {percent(share)}"
    )


def _ranks(record: AuditRecord, advice: Mapping[str, Any], title: str, text: str) -> Table:
    candidates = ranks.candidates(record)
    known = [one.rank for one in candidates]
    rank = advice.get("suggested_rank")
    chosen = known.index(rank) if rank in known else None
    return Table(
        title=title,
        text=text,
        header=CANDIDATES,
        rows=[_row(one) for one in candidates],
        figures=_drawn(_kept(candidates, None if chosen is None else known[chosen])),
        chosen=chosen,
        more="Of compressing the adapter after training; not of training at that rank."
        + (" The suggested rank stands out." if chosen is not None else ""),
    )


def _row(one: Candidate) -> list[str]:
    shares = (one.energy_kept, one.relative_error, one.worst_error)
    slot = MISSING if one.slot is None else str(one.slot)
    return [str(one.rank), *map(percent, shares), count(one.params), megabytes(one.size_bytes), slot]


def _kept(candidates: Sequence[Candidate], suggested: int | None) -> Chart:
    line = _line([one.rank for one in candidates], [one.energy_kept for one in candidates])
    marks = [] if suggested is None else [Event(step=suggested, kind="ok", label=f"suggested rank {suggested}")]
    return Chart(title="Energy kept by rank", lines=[line], events=marks, **_axis(line))


def _targets(record: AuditRecord) -> Table:
    shown = sorted(record.by_target, key=lambda group: (-group.energy_share, group.name))[:TARGETS_SHOWN]
    hidden = module_map.hidden(module.name for module in record.modules)
    return Table(
        title="Where the rank is used",
        text="Each cell is the energy rank k@95 of a module: as many directions hold 95 % of its update. A pale cell "
        "has rank to spare, a full one uses all that it was trained with.",
        heat_map=rank_map(record),
        small_figures=_drawn(*_spectra(record, shown)),
        header=GROUPS,
        rows=[_group(group) for group in shown],
        more=" ".join(_left_out(("rows of the map", hidden), ("targets", len(record.by_target) - len(shown)))),
    )


def _left_out(*kinds: tuple[str, int]) -> Iterator[str]:
    yield from (f"{left} more {what}." for what, left in kinds if left)


def _group(group: NamedGroup) -> list[str]:
    return [
        group.name,
        str(group.n_layers),
        count(group.params),
        f"{number(group.energy_rank_95_p50)} / {number(group.energy_rank_95_p90)}",
        fixed(group.stable_rank_mean),
        percent(group.energy_share),
        percent(group.rank_waste),
    ]


def _spectra(record: AuditRecord, groups: Sequence[NamedGroup]) -> Iterator[Chart]:
    """Of each target how its spectrum adds up, on axes that all of them share."""
    lowest = min((share for group in groups for share in group.energy_kept), default=0.0)
    for group in groups:
        line = _line(record.candidate_ranks, group.energy_kept)
        yield Chart(title=group.name, lines=[line], values=(100 * lowest, 100.0), frame=chart.SMALL, **_axis(line))


def _line(candidates: Sequence[int], energy_kept: Sequence[float]) -> Line:
    points = [(float(rank), 100 * share) for rank, share in zip(candidates, energy_kept, strict=True)]
    return Line(name="energy kept, %", points=points, has_dots=True)


def _axis(line: Line) -> dict[str, Any]:
    ladder = [rank for rank, _ in line.points]
    return {"x_name": "rank", "steps": (ladder[0], ladder[-1]), "ladder": ladder}


def _drawn(*charts: Chart) -> list[Figure]:
    return [figure for one in charts if (figure := chart.draw(one)) is not None]
