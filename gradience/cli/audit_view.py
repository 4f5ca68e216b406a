"""What of an audit is printed, and how: the options for it, and the rows that they ask for."""

from typing import Final

import click
import msgspec

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.cli import output
from gradience.cli.options import together
from gradience.policy import audit_event
from gradience.policy.advice import Advice
from gradience.report import audit_text


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A field for each option."""

    top: int
    layers: bool
    verbose: bool
    as_json: bool


options: Final = together(
    click.option(
        "--top-wasteful", "top", type=click.IntRange(0), default=0, metavar="N", help="The N most surplus modules."
    ),
    click.option("--layers", is_flag=True, help="Show every module."),
    output.verbose_option,
    output.json_option,
)


def text(record: AuditRecord, advice: Advice, view: View) -> str:
    """The report for a terminal."""
    return audit_text.render(record, advice, top=view.top, layers=view.layers, verbose=view.verbose)


def rows(record: AuditRecord, view: View) -> list[ModuleAudit] | None:
    """The modules that are to be shown; None where none were asked for."""
    if view.layers:
        return list(record.modules)
    return audit_event.most_surplus(record, view.top) if view.top else None
