"""`gradience report`: a recorded run or an adapter as one page, which needs no tracker, no network and no script."""

import os
from pathlib import Path

import click

from gradience import audit, references
from gradience.cli import audit_note, html, journals, output, recorded, run_places
from gradience.cli.bar import Bar
from gradience.cli.journals import Journal
from gradience.cli.path import A_PLACE
from gradience.cli.recorded import Asked
from gradience.errors import InputError
from gradience.policy import audit_event, catalogue
from gradience.policy.rule import Policy
from gradience.references import Fetched
from gradience.report.plain import plain


@click.command()
@click.argument("place", metavar="RUN.jsonl|DIR|REF", type=A_PLACE)
@click.option("--html", "file", required=True, metavar="FILE", help="The page to write; `-` is stdout.")
@click.option("--run-id", metavar="ID", help="The run to report; else the last one in the file.")
@output.policy_option
def command(*, place: str, file: str, run_id: str | None, policy_file: Path | None) -> None:
    """Write a recorded run, or an adapter, as a page: charts, findings with their tests, ranks, settings.

    A run is a journal, a directory with one, or the trainer_state.json of a Trainer. An adapter is a directory or a
    reference, as in audit; it is measured, in the light of the run that trained it where that is found.
    """
    policy = catalogue.load(policy_file)
    if run_places.is_run(place):
        found = run_places.find([place])
        if len(found) > 1:
            raise InputError(
                f"cannot report {len(found)} runs on one page: {', '.join(found[:3])}, ...; name one, or see "
                "`gradience compare --html`"
            )
        html.write(html.run(recorded.read(found[0], Asked(run_id=run_id, policy=policy))), file)
        return
    if run_id is not None:
        raise click.UsageError(f"--run-id is for recorded runs, and {place} is taken for an adapter")
    html.write(_adapter(references.fetch(place), policy), file)


def _adapter(place: Fetched, policy: Policy) -> str:
    from gradience.report.html import adapter_report  # as in `html`

    with Bar("measuring") as progress:
        record = audit.audit(place, progress=progress)
    advice = audit_note.advise(record, journals.known(_journal(place), policy), policy)
    return adapter_report.render(audit_event.metrics(record, advice), audit_event.recommendation(record, advice))


def _journal(place: Fetched) -> Journal | None:
    if not place.is_local or not os.access(place.folder, os.F_OK):
        return None
    try:
        return journals.around(place.folder)
    except InputError as error:
        output.talk(plain(f"Without what its run knows: {error}"))
        return None
