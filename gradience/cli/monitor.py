"""`gradience monitor`: what a recorded run shows, from its telemetry alone."""

import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience.cli import html, output, recorded, run_places, side_by_side
from gradience.cli.live import start
from gradience.cli.live.ticker import INTERVAL_S
from gradience.cli.recorded import Asked, Recorded
from gradience.curves import course
from gradience.policy import catalogue, monitor
from gradience.report import monitor_text

SCHEMA: Final = "gradience.monitor/v1"


@click.command()
@click.argument("places", metavar="RUN.jsonl... | DIR", nargs=-1, required=True)
@click.option("--run-id", metavar="ID", help="The run to look at; else the last one in the file.")
@click.option("--gap-threshold", type=float, metavar="RATIO", help="The bar of memorization_gap, of perplexities.")
@click.option("--strict-schema", is_flag=True, help="Fail at the first line that is not valid telemetry.")
@click.option("--follow", is_flag=True, help="Watch a run while it is recorded, until it ends; then sum it up.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0),
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="With --follow, where no terminal is: between two lines on progress.",
)
@html.option("a page with charts")
@output.verbose_option
@output.json_option
@output.policy_option
@output.fail_on_option
def command(
    places: tuple[str, ...],
    run_id: str | None,
    gap_threshold: float | None,
    *,
    strict_schema: bool,
    follow: bool,
    interval_s: float,
    page: str | None,
    verbose: bool,
    as_json: bool,
    policy_file: Path | None,
    fail_on: str | None,
) -> None:
    """Sum up a recorded run: how it ended, train, eval, gap, alerts, audit, advice. Of several runs, a table.

    RUN.jsonl may be compressed with gzip, or `-` for stdin; or the trainer_state.json of a Hugging Face Trainer. Of a
    directory, every run in it is meant. --fail-on also looks at recorded alerts (by their code) and recorded advice.
    """
    policy = catalogue.load(policy_file)
    output.no_slip(fail_on, policy.rules)
    html.check(page, as_json=as_json)
    if gap_threshold is not None:
        policy = policy.changed("memorization_gap", gap=gap_threshold)
    asked = Asked(run_id=run_id, policy=policy, strict=strict_schema)
    if follow:
        start.follow(places, asked, interval_s, as_json=as_json)
    found = run_places.find(places)
    if len(found) > 1:
        side_by_side.show(found, asked, page=page, as_json=as_json, fail_on=fail_on)
        return
    one = recorded.read(found[0], asked)
    if page is not None:
        html.write(html.run(one), page)
    if as_json:
        output.document(_document(one))
    elif page != html.STDOUT:
        curves, encoding = one.replay.course.curves(), sys.stdout.encoding
        output.lines(monitor_text.render(one.place, one.seen, one.found, curves, verbose=verbose, encoding=encoding))
    output.enforce(monitor.everything(one.seen, one.found), fail_on)


def _document(one: Recorded) -> dict[str, Any]:
    seen = one.seen
    signals: dict[str, Any] = msgspec.to_builtins(seen)
    config, alerts = signals.pop("config"), signals.pop("alerts")
    issues, total = signals.pop("issues"), signals.pop("issue_count")
    audit = signals["lora_audit"]
    if audit is not None:
        signals["lora_audit"] = {key: value for key, value in audit.items() if key != "modules"}
    return {
        "schema": SCHEMA,
        "file": one.place,
        "config": config,
        "signals": signals,
        "alerts": alerts,
        "recommendations": msgspec.to_builtins([*one.found, *monitor.recorded(seen)]),
        "telemetry_issues": issues,
        "telemetry_issue_count": total,
        "detectors": msgspec.to_builtins(one.replay.fired),
        "series": course.document(one.replay.course.curves()),
    }
