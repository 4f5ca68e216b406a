"""The updates of an adapter set against its base model, for the terminal."""

from typing import Final

from gradience.audit.record import AuditRecord, BaseRelative, ModuleAudit
from gradience.report.layout import block, labelled, table
from gradience.report.numbers import number

COLUMNS: Final = ("type", "modules", "UDR median", "p90", "max", "SDI median", "|dW|/|W| median", "p90")


def lines(record: AuditRecord) -> list[str]:
    """A block by module type, and the module whose update is the largest; nothing where no weight was measured."""
    measured = [module for module in record.modules if module.udr is not None]
    if not measured:
        return []
    rows = [_row(name, group) for name, group in sorted(record.by_type.items()) if group.n_layers_with_udr]
    whole = [_row("all", record.summary)] if len(rows) > 1 else []
    return [
        *block("Against the base model (UDR: spectral norm of dW / W)", table(COLUMNS, [*rows, *whole])),
        *labelled("base", record.base_path or ""),
        *labelled("largest", _largest(measured)),
    ]


def _row(name: str, group: BaseRelative) -> tuple[str, ...]:
    shares = (group.udr_median, group.udr_p90, group.udr_max)
    frobenius = (group.udr_f_median, group.udr_f_p90)
    return (
        name,
        str(group.n_layers_with_udr),
        *map(number, shares),
        number(group.sdi_median),
        *map(number, frobenius),
    )


def _largest(modules: list[ModuleAudit]) -> str:
    first = max(modules, key=lambda module: module.udr or 0.0)
    return f"{number(first.udr)} in {first.name}"
