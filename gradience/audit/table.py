"""A record as a table: text for `print`, HTML for a notebook. What a file says is made harmless on the way."""

from collections.abc import Sequence
from html import escape
from typing import Final

from gradience.audit.record import AuditRecord, GroupSummary, ModuleAudit
from gradience.audit.refusal import printable

_LINES: Final = 20  # modules in the text: more scroll the sums away
_ROWS: Final = 500  # modules in the HTML, which is stored in the notebook
_GROUP: Final = ("type", "modules", "params", "k@95 p50", "k@95 p90", "stable rank", "energy", "rank waste")
_MODULE: Final = ("module", "type", "r", "k@90", "k@95", "k@99", "stable rank", "eff. rank", "|dW|", "energy", "params")

Row = Sequence[str]


def text(record: AuditRecord) -> str:
    """The title, a table of module types and one of the first modules."""
    modules = [_module(module) for module in record.modules[:_LINES]]
    more = [_more(record, _LINES)] if len(record.modules) > _LINES else []
    notes = [f"- {printable(issue)}" for issue in record.issues]
    parts = [[_title(record)], _aligned(_GROUP, _groups(record)), [*_aligned(_MODULE, modules), *more], notes]
    return "\n\n".join("\n".join(part) for part in parts if part)


def html(record: AuditRecord) -> str:
    """The same, with the modules folded away."""
    modules = [_module(module) for module in record.modules[:_ROWS]]
    more = f"<p>{escape(_more(record, _ROWS))}</p>" if len(record.modules) > _ROWS else ""
    notes = "".join(f"<li>{escape(printable(issue))}</li>" for issue in record.issues)
    return (
        f"<p><b>{escape(_title(record))}</b></p>{_table(_GROUP, _groups(record))}"
        f"<details><summary>{len(record.modules)} modules</summary>{_table(_MODULE, modules)}{more}</details>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _title(record: AuditRecord) -> str:
    adapter, whole = record.adapter, record.summary
    return (
        f"LoRA audit of {printable(adapter.peft_dir)}: r={adapter.r}, {whole.n_layers} modules, "
        f"{whole.total_lora_params} parameters, {whole.rank_waste:.1%} of them beyond the energy rank at "
        f"{record.energy_level:.0%}"
    )


def _more(record: AuditRecord, shown: int) -> str:
    return f"... and {len(record.modules) - shown} more in record.modules"


def _groups(record: AuditRecord) -> list[Row]:
    return [_group(name, summary) for name, summary in record.by_type.items()]


def _group(name: str, summary: GroupSummary) -> Row:
    return (
        name,
        str(summary.n_layers),
        str(summary.params),
        f"{summary.energy_rank_95_p50:g}",
        f"{summary.energy_rank_95_p90:g}",
        f"{summary.stable_rank_mean:.2f}",
        f"{summary.energy_share:.1%}",
        f"{summary.rank_waste:.1%}",
    )


def _module(module: ModuleAudit) -> Row:
    ranks = (module.r, module.energy_rank_90, module.energy_rank_95, module.energy_rank_99)
    return (
        printable(module.name),
        module.module_type,
        *map(str, ranks),
        f"{module.stable_rank:.2f}",
        f"{module.effective_rank:.2f}",
        f"{module.delta_fro_norm:.4g}",
        f"{module.energy_share:.1%}",
        str(module.params),
    )


def _aligned(header: Row, rows: Sequence[Row]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in (header, *rows))
    return ["  ".join(line) for line in lines]


def _table(header: Row, rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
