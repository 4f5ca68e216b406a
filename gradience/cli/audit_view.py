"""What of an audit is printed, and how: the options for it, and what they ask for."""

from typing import Any, Final, Literal, get_args

import click
import msgspec

from gradience.audit.record import AuditRecord
from gradience.batch import row
from gradience.cli import output
from gradience.cli.options import together
from gradience.policy import audit_event, module_ranks
from gradience.policy.advice import Advice
from gradience.policy.module_ranks import ModuleRanks
from gradience.report import audit_csv, audit_text, module_ranks_text, module_rows, shape_text
from gradience.report.module_rows import Wanted

Format = Literal["text", "csv", "json", "jsonl", "sarif"]
TABLES: Final = ("jsonl", "sarif")  # a row for each adapter, even if there is only one
WITHHELD: Final = "None: rank advice is withheld, see the finding above."


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A field for each option."""

    layers: bool
    top: int
    sort: str | None
    glob: str | None
    per_layer: bool
    form: Format | None
    json_given: bool
    verbose: bool

    @property
    def format(self) -> Format:
        """How it is printed."""
        return "json" if self.json_given else self.form or "text"

    @property
    def as_json(self) -> bool:
        """Whether it is one JSON document, which comes last."""
        return self.format == "json"

    @property
    def wanted(self) -> Wanted | None:
        """The modules that are asked for; None where none are."""
        if not (self.layers or self.top or self.sort or self.glob is not None or self.format == "csv"):
            return None
        return Wanted(glob=self.glob, top=0 if self.layers else self.top, sort=self.sort)


def _key(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    known = dict.fromkeys((*module_rows.COLUMNS, *row.KEYS))
    if given is None or given.removeprefix("-") in known:
        return given
    raise click.BadParameter(f"{given!r} is no measure of a module or an adapter; one of {', '.join(known)}")


options: Final = together(
    click.option("--layers", is_flag=True, help="Show every module, and sums by layer and by target."),
    click.option(
        "--top-wasteful", "top", type=click.IntRange(0), default=0, metavar="N", help="The N most surplus modules."
    ),
    click.option("--sort", metavar="KEY", callback=_key, help="Show modules by this measure; -KEY turns it round."),
    click.option("--filter", "glob", metavar="GLOB", help="Show only modules of such names; sums stay those of all."),
    click.option("--suggest-per-layer", "per_layer", is_flag=True, help="Suggest a rank for each module."),
    click.option(
        "--format",
        "form",
        type=click.Choice(get_args(Format)),
        help="csv: a row for each module, or for each of several adapters, as is jsonl; sarif: the findings.",
    ),
    click.option("--json", "json_given", is_flag=True, help="Short for --format json: one JSON document."),
    output.verbose_option,
    title="What is shown",
)


def check(view: View) -> None:
    """Refuse options that contradict each other.

    Raises:
        click.UsageError: they do.
    """
    if view.json_given and view.form not in (None, "json"):
        raise click.UsageError(f"--json is --format json: give it or --format {view.form}, not both")
    if view.sort and view.sort.removeprefix("-") not in module_rows.COLUMNS:
        raise click.UsageError(f"--sort {view.sort} is for several adapters: modules do not have it")
    if view.format == "csv" and view.per_layer:
        raise click.UsageError("--suggest-per-layer has no CSV: use --format json")


def text(record: AuditRecord, advice: Advice, view: View) -> str:
    """What is printed as soon as the audit is done: the report, or the rows as CSV."""
    if view.format == "csv":
        return audit_csv.render(record, module_rows.select(record, view.wanted or Wanted()))
    further = [
        *(shape_text.render(record) if view.verbose else []),
        *(audit_text.groups(record) if view.layers else []),
        *(audit_text.modules(record, view.wanted) if view.wanted else []),
        *(_ranks_text(record, advice, view) if view.per_layer else []),
    ]
    return audit_text.render(record, advice, further=further, verbose=view.verbose)


def document(record: AuditRecord, advice: Advice, view: View) -> dict[str, Any]:
    """The JSON document."""
    rows = None if view.wanted is None else module_rows.select(record, view.wanted)
    body = audit_event.document(record, advice, rows)
    ranks = _ranks(record, advice) if view.per_layer else None
    return {**body, "module_ranks": msgspec.to_builtins(ranks)} if view.per_layer else body


def _ranks(record: AuditRecord, advice: Advice) -> ModuleRanks | None:
    return None if advice.verdict in ("abstain", "error") else module_ranks.suggest(record)


def _ranks_text(record: AuditRecord, advice: Advice, view: View) -> list[str]:
    ranks = _ranks(record, advice)
    if ranks is None:
        return module_ranks_text.withheld(WITHHELD)
    names = {module_ranks.owner(module) for module in module_rows.select(record, view.wanted or Wanted())}
    rows = [row for row in ranks.modules if row.name in names]
    return module_ranks_text.render(ranks, rows, settings=record.adapter.layout == "peft")
