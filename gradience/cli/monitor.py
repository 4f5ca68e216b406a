"""`gradience monitor`: what a recorded run shows, from its telemetry alone."""

from typing import Any, Final

import click
import msgspec

from gradience.cli import output
from gradience.errors import TelemetryError
from gradience.policy import audit_rules, check_catalogue, monitor, verification
from gradience.report import monitor_text
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Recommendation

SCHEMA: Final = "gradience.monitor/v1"
CODES: Final = (
    *(rule.code for rule in monitor.RULES),
    *(rule.code for rule in check_catalogue.RULES),
    *(rule.code for rule in audit_rules.RULES),
    *(rule.code for rule in verification.RULES),
)


@click.command()
@click.argument("file", metavar="RUN.jsonl")
@click.option("--run-id", metavar="ID", help="The run to look at; else the last one in the file.")
@click.option("--gap-threshold", type=float, default=monitor.GAP, show_default=True, metavar="RATIO")
@click.option("--strict-schema", is_flag=True, help="Fail at the first line that is not valid telemetry.")
@output.verbose_option
@output.json_option
@output.fail_on_option
def command(
    file: str,
    run_id: str | None,
    gap_threshold: float,
    *,
    strict_schema: bool,
    verbose: bool,
    as_json: bool,
    fail_on: str | None,
) -> None:
    """Sum up a recorded run: how it ended, train, eval, gap, alerts, audit, advice.

    RUN.jsonl may be compressed with gzip, or `-` for stdin. --fail-on also looks at recorded alerts (by their code)
    and recorded advice.
    """
    output.no_slip(fail_on, CODES)
    seen = _summarized(file, run_id, strict=strict_schema)
    found = monitor.monitor(seen, gap=gap_threshold)
    if as_json:
        output.document(_document(file, seen, found))
    else:
        output.lines(monitor_text.render(file, seen, found, verbose=verbose))
    output.enforce(monitor.everything(seen, found), fail_on)


def _summarized(file: str, run_id: str | None, *, strict: bool) -> SignalSnapshot:
    reader = TelemetryReader(file, run_id=run_id, strict=strict)
    seen = msgspec.structs.replace(reader.summarize(), seal=reader.seal())
    if not seen.counts:
        which = "no telemetry event" if run_id is None else f"no event of run {run_id}"
        raise TelemetryError(f"cannot monitor {file}: {which} in it")
    return seen


def _document(file: str, seen: SignalSnapshot, found: list[Recommendation]) -> dict[str, Any]:
    signals: dict[str, Any] = msgspec.to_builtins(seen)
    config, alerts = signals.pop("config"), signals.pop("alerts")
    issues, total = signals.pop("issues"), signals.pop("issue_count")
    audit = signals["lora_audit"]
    if audit is not None:
        signals["lora_audit"] = {key: value for key, value in audit.items() if key != "modules"}
    return {
        "schema": SCHEMA,
        "file": file,
        "config": config,
        "signals": signals,
        "alerts": alerts,
        "recommendations": msgspec.to_builtins([*found, *monitor.recorded(seen)]),
        "telemetry_issues": issues,
        "telemetry_issue_count": total,
    }
