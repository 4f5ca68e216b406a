"""`gradience audit`: measure an adapter, say what is worth testing, and put both where the run is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience import audit
from gradience.audit.record import ENERGY_LEVEL, AuditRecord, ModuleAudit
from gradience.cli import delivery, landing, output
from gradience.cli.path import A_PATH
from gradience.policy import audit_event
from gradience.policy.advice import Advice, advise
from gradience.policy.audit_rules import GATES, RULES
from gradience.report import audit_text
from gradience.report.plain import plain

DEADLINE_S: Final = 60.0


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What of the audit is printed, and how."""

    as_json: bool
    verbose: bool
    layers: bool
    top: int


@click.command()
@click.option("--peft-dir", type=A_PATH, required=True, help="The directory that PEFT saved the adapter to.")
@click.option(
    "--top-wasteful", "top", type=click.IntRange(0), default=0, metavar="N", help="The N most surplus modules."
)
@click.option("--layers", is_flag=True, help="Show every module.")
@click.option("--energy-level", type=click.FloatRange(0, 1, min_open=True), default=ENERGY_LEVEL, show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps")
@click.option("--append", type=A_PATH, metavar="JSONL", help="Append the audit to this recorded run.")
@click.option("--telemetry", type=A_PATH, metavar="JSONL", help="As --append, but make the file if it is not there.")
@click.option("--log-to", multiple=True, metavar="NAME", help="Mirror the run into this tracker; may be repeated.")
@click.option("--run", metavar="ID", help="The tracked run to use, as the tracker calls it.")
@click.option("--experiment", metavar="NAME", help="Where a new tracked run goes.")
@click.option("--tracking-uri", metavar="URI", help="The tracker's address.")
@click.option("--deadline", type=click.FloatRange(0), default=DEADLINE_S, show_default=True, metavar="SECONDS")
@click.option("--strict", is_flag=True, help="Exit with 4 if a tracker is behind at the deadline.")
@output.verbose_option
@output.json_option
@output.fail_on_option
def command(
    *, peft_dir: Path, append: Path | None, telemetry: Path | None, fail_on: str | None, strict: bool, **given: Any
) -> None:
    """Measure how much of its rank an adapter uses, and say what is worth testing.

    With --append, --telemetry or --log-to the audit becomes part of the recorded run: the JSONL found in or above the
    adapter's directory, or a new one beside the adapter. --log-to then mirrors that run into a tracker.
    """
    output.known_bar(fail_on, (rule.code for rule in (*GATES, *RULES)))
    request = _request(given)
    delivery.check(request)
    journal = _journal(peft_dir, append, telemetry, wanted=bool(request.names))
    shown = Shown(as_json=given["as_json"], verbose=given["verbose"], layers=given["layers"], top=given["top"])
    record = _audited(peft_dir, given["energy_level"], given["device"])
    advice = advise(record, planned_steps=landing.planned_steps(journal) if journal else None)
    if not shown.as_json:
        output.lines(audit_text.render(record, advice, top=shown.top, layers=shown.layers, verbose=shown.verbose))
    landed = landing.land(journal, record, advice) if journal else None
    delivered: list[delivery.Delivered] = []
    try:
        delivered = _delivered(landed, request) if landed else []
    finally:  # the audit is done and kept, whatever a tracker says
        if shown.as_json:
            output.document(_document(record, advice, shown, landed, delivered))
    output.enforce(advice.recommendations, fail_on)
    if strict and not all(one.up_to_date for one in delivered):
        sys.exit(output.BEHIND)


def _request(given: dict[str, Any]) -> delivery.Request:
    options = {name: given[name] for name in ("run", "experiment", "tracking_uri") if given[name] is not None}
    return delivery.Request(names=tuple(dict.fromkeys(given["log_to"])), options=options, deadline_s=given["deadline"])


def _journal(adapter: Path, append: Path | None, telemetry: Path | None, *, wanted: bool) -> landing.Journal | None:
    if append and telemetry:
        raise click.UsageError("give --append or --telemetry, not both")
    if append:
        return landing.named(append)
    if telemetry:
        return landing.at(telemetry)
    # A directory that is not there is the audit's to refuse.
    return landing.beside(adapter) if wanted and adapter.is_dir() else None


def _audited(adapter: Path, energy_level: float, device: str) -> AuditRecord:
    with _progress() as progress:
        return audit.audit(adapter, energy_level=energy_level, device=device, progress=progress)


@contextmanager
def _progress() -> Iterator[audit.Progress | None]:
    """A counter on stderr where somebody watches; gone when the work is done."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda done, total: click.echo(f"\raudited {done} of {total} modules", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


def _delivered(landed: landing.Landed, request: delivery.Request) -> list[delivery.Delivered]:
    what = "Appended the audit to" if landed.added else "The same audit of this adapter is already in"
    output.talk(f"{what} {plain(landed.path)} (run {plain(landed.run_id)})")
    return delivery.deliver(landed.path, landed.run_id, request)


def _document(
    record: AuditRecord,
    advice: Advice,
    shown: Shown,
    landed: landing.Landed | None,
    delivered: list[delivery.Delivered],
) -> dict[str, Any]:
    body = audit_event.document(record, advice, _rows(record, shown))
    told = {} if landed is None else {"journal": str(landed.path), "run_id": landed.run_id, "added": landed.added}
    trackers = {"trackers": msgspec.to_builtins(delivered)} if delivered else {}
    return {**body, **told, **trackers}


def _rows(record: AuditRecord, shown: Shown) -> list[ModuleAudit] | None:
    if shown.layers:
        return list(record.modules)
    return audit_event.most_surplus(record, shown.top) if shown.top else None
