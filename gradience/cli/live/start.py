"""Which screen a live run is shown on, and what can be watched at all."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from gradience.cli import output, run_places
from gradience.cli.live.terminal import Terminal
from gradience.cli.live.ticker import Ticker
from gradience.cli.live.watching import watch
from gradience.cli.recorded import Asked
from gradience.vnext import journal


def follow(places: Sequence[str], asked: Asked, interval_s: float, *, as_json: bool) -> None:
    """Watch the one run that is named, until it ends; where its document is wanted, lines go to stderr.

    Raises:
        click.UsageError: It is not one file.
        TelemetryError: It cannot be read.
    """
    if len(places) != 1 or places[0] == journal.STDIN or Path(places[0]).is_dir():
        raise click.UsageError("--follow watches one file: name it, whether or not it is there yet")
    if run_places.is_trainer_state(places[0]):
        raise click.UsageError("--follow watches a journal: a Trainer writes its state anew at every checkpoint")
    if not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        watch(Path(places[0]), asked, Terminal(), sys.stdout.encoding)
    else:
        watch(Path(places[0]), asked, Ticker(interval_s, output.talk if as_json else output.lines))
