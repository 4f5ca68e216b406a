"""An audit for the terminal: the verdict first, then what it rests on."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import click

from gradience.audit.record import AdapterInfo, AuditRecord, AuditSummary, GroupSummary, ModuleAudit, NamedGroup
from gradience.policy import audit_event, ranks
from gradience.policy.advice import Advice, Verdict
from gradience.report import base_text, finding_text, module_rows
from gradience.report.layout import block, heading, labelled, table
from gradience.report.module_rows import Wanted
from gradience.report.numbers import MISSING, count, fixed, megabytes, number, percent
from gradience.report.plain import plain

VERDICTS: Final[dict[Verdict, str]] = {
    "ok": "no finding that calls for a test",
    "review": "a smaller rank is worth testing",
    "act": "something here should be changed",
    "abstain": "rank advice is withheld",
    "error": "this adapter cannot be used as it is",
}
VERIFIED: Final = {  # by `gradience verify`; no line where it was not tried
    "pass": "a compressed form of this adapter was as good",
    "fail": "a compressed form of this adapter was worse",
}
COLOURS: Final[dict[Verdict, str]] = {
    "ok": "green",
    "review": "magenta",
    "act": "magenta",
    "abstain": "magenta",
    "error": "red",
}
TYPE_COLUMNS: Final = (
    "type", "modules", "params", "k@90", "k@95", "k@99", "stable rank", "eff. rank", "util.", "rank waste",
)  # fmt: skip
GROUP_COLUMNS: Final = (*TYPE_COLUMNS[1:], "energy", "|dW|")
MODULE_COLUMNS: Final = (
    "module", "type", "r", "k@90", "k@95", "k@99", "stable", "eff.", "|dW|", "params", "surplus",
)  # fmt: skip
# What these columns show, by its name in the record.
_SHOWN: Final = (
    "name", "module_type", "r", "energy_rank_90", "energy_rank_95", "energy_rank_99", "stable_rank", "effective_rank",
    "delta_fro_norm", "params", "surplus_params",
)  # fmt: skip
_QUANTILES: Final = "(energy ranks: p50/p90)"


def render(record: AuditRecord, advice: Advice, *, further: Iterable[str] = (), verbose: bool = False) -> str:
    """The whole report, with evidence if `verbose`. `further` lines are what was asked for beside it: see below."""
    notes = [line for issue in record.issues for line in labelled("-", issue, width=2)]
    lines = [
        *_header(record, advice),
        *_findings(advice, verbose=verbose),
        *_candidates(record, advice),
        *block(f"By module type {_QUANTILES}", _types(record)),
        *base_text.lines(record),
        *further,
        *(block("Notes", notes) if notes else []),
    ]
    return "\n".join(lines)


def modules(record: AuditRecord, wanted: Wanted) -> list[str]:
    """A block with the modules that are wanted, and the column that they are sorted by."""
    rows = module_rows.select(record, wanted)
    column = (wanted.sort or "").removeprefix("-")
    extra = [column] if column and column not in _SHOWN else []
    cells = [[*_module(row), *(_cell(module_rows.value(row, name)) for name in extra)] for row in rows]
    return block(_title(record, wanted), table((*MODULE_COLUMNS, *extra), cells, left=2))


def groups(record: AuditRecord) -> list[str]:
    """Two blocks: by layer and by target."""
    found = [("layer", record.by_layer), ("target", record.by_target)]
    return [
        line
        for what, rows in found
        if rows
        for line in block(f"By {what} {_QUANTILES}", table((what, *GROUP_COLUMNS), map(_group, rows)))
    ]


def _header(record: AuditRecord, advice: Advice) -> list[str]:
    word = click.style(advice.verdict, fg=COLOURS[advice.verdict], bold=True)
    return [
        f"{heading('LoRA audit')}  {plain(record.adapter.peft_dir)}",
        "",
        f"  verdict     {word}: {VERDICTS[advice.verdict]} (confidence {advice.confidence})",
        *labelled("adapter", _adapter(record.adapter, record.summary)),
        *(labelled("base", record.adapter.base_model) if record.adapter.base_model else []),
        *labelled("suggestion", _suggestion(advice)),
        *(
            labelled("verified", f"{advice.verified}: {VERIFIED[advice.verified]}")
            if advice.verified in VERIFIED
            else []
        ),
    ]


def _adapter(adapter: AdapterInfo, summary: AuditSummary) -> str:
    parts = [
        f"{adapter.kind} r={adapter.r} alpha={number(adapter.lora_alpha)}{_variants(adapter)}",
        f"{summary.n_layers} modules",
        f"{count(summary.total_lora_params)} parameters",
        *([adapter.dtype] if adapter.dtype else []),
        *([f"step {adapter.step}"] if adapter.step is not None else []),
    ]
    return ", ".join(parts)


def _variants(adapter: AdapterInfo) -> str:
    words = {"rsLoRA": adapter.use_rslora, "DoRA": adapter.use_dora, "less its start": adapter.initial is not None}
    return "".join(f" {word}" for word, holds in words.items() if holds)


def _suggestion(advice: Advice) -> str:
    asked = advice.ranks
    if advice.verdict in ("abstain", "error"):
        return "none"
    found = f"median rank {asked.suggested_rank_median}, p90 rank {asked.suggested_rank_p90} of {asked.current_r}"
    doing = {
        "compress": f"compress to rank {advice.suggested_rank} and compare",
        "probe_higher_rank": "train once at a higher rank and compare",
        "none": "none",
    }[advice.suggestion]
    return f"{doing} ({asked.energy_level:.0%} energy: {found})"


def _findings(advice: Advice, *, verbose: bool) -> list[str]:
    if not advice.recommendations:
        return ["", "No findings. That does not show that the rank is enough: no spectrum can."]
    first, *others = advice.recommendations
    lines = ["", *finding_text.full(first, evidence=verbose)]
    for one in others:
        lines += ["", *(finding_text.full(one, evidence=True) if verbose else finding_text.brief(one))]
    return lines


def _candidates(record: AuditRecord, advice: Advice) -> list[str]:
    header = ("", "rank", "energy kept", "relative error", "spectral error", "worst module", "params", "MB", "vLLM")
    rows = [_candidate(row, row.rank == advice.suggested_rank) for row in ranks.candidates(record)]
    return block("Candidate ranks, for compression after training", table(header, rows)) if rows else []


def _candidate(row: ranks.Candidate, suggested: bool) -> tuple[str, ...]:
    return (
        ">" if suggested else "",
        str(row.rank),
        percent(row.energy_kept),
        percent(row.relative_error),
        percent(row.spectral_error),
        percent(row.worst_error),
        count(row.params),
        megabytes(row.size_bytes),
        MISSING if row.slot is None else str(row.slot),
    )


def _types(record: AuditRecord) -> list[str]:
    rows = [_type(name, summary, summary.params) for name, summary in sorted(record.by_type.items())]
    total = _type("all", record.summary, record.summary.total_lora_params)
    return table(TYPE_COLUMNS, [*rows, *([total] if len(rows) > 1 else [])])


def _type(name: str, summary: GroupSummary | AuditSummary, params: int) -> tuple[str, ...]:
    quantiles = (
        summary.energy_rank_90_p50, summary.energy_rank_90_p90,
        summary.energy_rank_95_p50, summary.energy_rank_95_p90,
        summary.energy_rank_99_p50, summary.energy_rank_99_p90,
    )  # fmt: skip
    pairs = [f"{number(low)}/{number(high)}" for low, high in list(pairwise(quantiles))[::2]]
    return (
        name,
        str(summary.n_layers),
        count(params),
        *pairs,
        fixed(summary.stable_rank_mean),
        fixed(summary.effective_rank_mean),
        percent(summary.utilization_mean),
        percent(summary.rank_waste),
    )


def _group(row: NamedGroup) -> tuple[str, ...]:
    return (*_type(row.name, row, row.params), percent(row.energy_share), number(row.delta_fro_norm))


def _title(record: AuditRecord, wanted: Wanted) -> str:
    order = f", sorted by {wanted.sort}" if wanted.sort else ""
    only = f" that match {plain(wanted.glob)} (the numbers above are of all {len(record.modules)})"
    matching = only if wanted.glob is not None else ""
    if wanted.top:
        return f"Most surplus rank (top {wanted.top}, by (1 - k@95 / r) x params){matching}{order}"
    return f"Modules{matching}{order}"


def _cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else number(value)


def _module(row: ModuleAudit) -> tuple[str, ...]:
    return (
        row.name,
        row.module_type if row.kind in ("linear", row.module_type) else f"{row.module_type} ({row.kind})",
        str(row.r),
        str(row.energy_rank_90),
        str(row.energy_rank_95),
        str(row.energy_rank_99),
        fixed(row.stable_rank),
        fixed(row.effective_rank),
        number(row.delta_fro_norm),
        count(row.params),
        count(audit_event.surplus(row)),
    )
