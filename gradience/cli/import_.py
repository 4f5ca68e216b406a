"""`gradience import`: a run that somebody else recorded, as a journal of ours."""

from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli import output
from gradience.cli.bar import Bar
from gradience.cli.path import A_PATH, A_PLACE
from gradience.history import journal, registry
from gradience.history.journal import Written
from gradience.report.layout import heading, labelled
from gradience.report.plain import plain

SCHEMA: Final = "gradience.import/v1"
NAME: Final = "run.jsonl"


@click.command()
@click.argument("source", metavar="SOURCE", type=A_PLACE)
@click.option("--out", type=A_PATH, default=Path(NAME), show_default=True, metavar="JSONL", help="The new journal.")
@click.option("--tracking-uri", metavar="URI", help="The tracker's address; else that of its own tools.")
@output.json_option
def command(*, source: str, out: Path, tracking_uri: str | None, as_json: bool) -> None:
    """Make a journal of a run that is there already, to look at it or to move it to another tracker.

    SOURCE is a Trainer's output directory or trainer_state.json, mlflow:RUN_ID, wandb:ENTITY/PROJECT/RUN, or the
    directory of an offline W&B run. A file that is there is never replaced.
    """
    with Bar("fetching") as progress:
        history = registry.read(source, tracking_uri=tracking_uri, progress=progress)
    written = journal.write(history, out)
    if as_json:
        output.document({"schema": SCHEMA, **msgspec.to_builtins(written)})
    else:
        output.lines(_text(written))


def _text(written: Written) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(written.events.items()))
    rows = {
        "from": written.origin,
        "run": written.run_id,
        "events": counts,
        "redacted": f"{written.redacted} texts and secrets" if written.redacted else "",
        "note": "; ".join(written.notes),
    }
    lines = [f"{heading('Imported')} {plain(written.path)}", ""]
    for label, text in rows.items():
        lines += labelled(label, text) if text else []
    next_steps = [f"gradience monitor {written.path}", f"gradience sync {written.path} --to mlflow"]
    return "\n".join([*lines, "", *(f"  {plain(step)}" for step in next_steps)])
