"""`gradience dashboard`: a page of panels in a tracker, for the runs that our sink writes there."""

import json
import sys
from pathlib import Path

import click

from gradience.cli import output
from gradience.cli.path import A_PATH
from gradience.errors import InputError, UnavailableError
from gradience.mirror import dashboards
from gradience.report.plain import plain

SPEC = Path("gradience-dashboard.json")


@click.command()
@click.argument("tracker", metavar="wandb")
@click.option("--entity", metavar="NAME", help="Whose project it is; else as the tracker's settings say.")
@click.option("--project", metavar="NAME", help="The project; else as the tracker's settings say.")
@click.option("--out", type=A_PATH, metavar="FILE", help=f"Write the specification instead; offline {SPEC}.")
@output.json_option
def command(*, tracker: str, entity: str | None, project: str | None, out: Path | None, as_json: bool) -> None:
    """Make a dashboard: training, evaluation, how the rank is used, spectra, recommendations, alerts.

    It is saved to the project, where the same call replaces it. Offline, or with --out, its specification is written
    to a file to look at; the same call without them saves it.
    """
    board = dashboards.load(tracker, entity=entity, project=project)
    if out is None and not board.is_offline:
        try:
            url = board.save()
        except UnavailableError as error:
            output.talk(f"Error: {plain(error)}")
            sys.exit(output.BEHIND)
        told = {"url": url}
        said = f"Saved the dashboard: {url}"
    else:
        file = out or SPEC
        try:
            file.write_text(json.dumps(board.spec(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"cannot write the dashboard to {file}: {why}; name another file with --out") from None
        told = {"spec": str(file)}
        said = f"Wrote the dashboard's specification to {file}."
    if as_json:
        output.document({"schema": "gradience.dashboard/v1", "tracker": tracker, **told})
    else:
        output.lines(plain(said))
