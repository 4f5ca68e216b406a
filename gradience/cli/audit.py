"""`gradience audit`: measure an adapter, say what is worth testing, and put both where the run is.

Its options stand where they belong: what is measured in `audit_input`, what is printed in `audit_view`, where the
audit is kept in `keep`, what it is held against in `audit_gate`, how several adapters are worked on in
`audit_batch`.
"""

from pathlib import Path
from typing import Any

import click

from gradience import references
from gradience.batch import search
from gradience.cli import (
    audit_batch,
    audit_broken,
    audit_gate,
    audit_input,
    audit_note,
    audit_series,
    audit_view,
    delivery,
    journals,
    keep,
    output,
)
from gradience.cli.audit_batch import Spread
from gradience.cli.audit_gate import Gate
from gradience.cli.audit_input import Input
from gradience.cli.audit_view import View
from gradience.cli.keep import Keeping
from gradience.cli.options import Sectioned, taken
from gradience.errors import NonfiniteError
from gradience.policy import catalogue
from gradience.policy.audit_rules import GATES, RULES, UNMEASURED
from gradience.policy.rule import Policy, codes


@click.command(cls=Sectioned)
@audit_input.options
@audit_view.options
@keep.options
@audit_gate.options
@audit_batch.options
@output.policy_option
@output.fail_on_option
def command(*, policy_file: Path | None, fail_on: str | None, **given: Any) -> None:
    """Measure how much of its rank an adapter uses, and say what is worth testing.

    With --append, --telemetry or --log-to the audit becomes part of the recorded run: the JSONL found in or above the
    adapter's directory, or a new one beside the adapter (in the working directory, where the adapter was fetched).
    --log-to then mirrors that run into a tracker.
    """
    found = search.find(given["peft_dir"])
    asked = taken(Input, {**given, "peft_dir": found.adapters[0]})
    view, keeping, gate = taken(View, given), taken(Keeping, given), taken(Gate, given)
    is_table = found.several or view.format in audit_view.TABLES
    audit_gate.check(gate, fail_on, several=asked.all_checkpoints or is_table)
    output.known_bar(fail_on, (*codes(UNMEASURED), *codes((*GATES, *RULES)), *gate.codes()))
    if asked.intruders and not asked.base_model:
        raise click.UsageError("--intruders looks at the base model's weights: give --base-model as well")
    policy = catalogue.load(policy_file)
    if asked.all_checkpoints:
        audit_series.check(view, several=found.several)
        audit_series.run(asked, view, keeping, policy, fail_on)
    elif is_table:
        audit_batch.run(found.adapters, asked, view, keeping, taken(Spread, given), policy, fail_on)
    else:
        _run(asked, view, keeping, gate, policy, fail_on)


def _run(asked: Input, view: View, keeping: Keeping, gate: Gate, policy: Policy, fail_on: str | None) -> None:
    audit_view.check(view)
    keep.check(keeping, asked.peft_dir, gate.baseline or "")
    place = references.fetch(asked.peft_dir, tracker=keeping.tracking_uri)
    journal = keep.journal(place, keeping)
    baseline = audit_gate.before(gate, asked, keeping.tracking_uri)
    try:
        record = audit_input.measure(place, asked)
    except NonfiniteError as error:
        audit_broken.alert(error, place, journal, keeping, policy)
        raise
    judged = audit_gate.judge(record, baseline, policy)
    advice = audit_note.advise(record, journals.known(journal, policy), policy, copies=asked.copies)
    body = audit_view.document(record, advice, view) if view.as_json else {}
    if not view.as_json:
        output.lines(audit_view.text(record, advice, view))
    if judged and view.format == "text":
        output.lines(judged.text())
    landed = audit_note.land(journal, record, advice) if journal else None
    delivered: list[delivery.Delivered] = []
    try:
        delivered = keep.deliver(landed, keeping, place, what=audit_note.WORD) if landed else []
    finally:  # the audit is done and kept, whatever a tracker says
        if view.as_json:
            output.document({**body, **(judged.told() if judged else {}), **keep.told(landed, delivered)})
    output.enforce([*advice.recommendations, *(judged.findings if judged else [])], fail_on)
    keep.enforce(keeping, delivered)
