"""What `gradience verify` evaluates, and how: the options for it."""

from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli.options import together
from gradience.cli.path import A_PATH, A_PLACE


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The two adapters and the evaluation; a field for each option."""

    original: str
    compressed: str
    command: str
    shell: bool
    results: str | None
    output_dir: Path | None
    timeout: float | None
    quiet: bool


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared; a field for each option."""

    metric: str | None
    higher_is_better: bool | None
    tolerance: str | None
    repeats: int
    seed: int
    seed_variable: str | None


evaluation: Final = together(
    click.option("--original", type=A_PLACE, required=True, metavar="DIR|REF", help="The adapter as it was trained."),
    click.option("--compressed", type=A_PLACE, required=True, metavar="DIR|REF", help="The one to hold against it."),
    click.option(
        "--command",
        required=True,
        metavar="COMMAND",
        help="Your evaluation. {adapter} becomes the path of either adapter, {seed} the seed, {output} an empty folder "
        "for results.",
    ),
    click.option("--shell", is_flag=True, help="Run the command by the shell; else it is split into arguments."),
    click.option(
        "--results",
        metavar="PATH",
        help="The file that the command writes its results to, or the folder; may hold placeholders. Else: what it "
        "left in {output}, or the last JSON object that it printed.",
    ),
    click.option("--output-dir", type=A_PATH, metavar="DIR", help="Keep what it leaves in {output} in this folder."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="For each evaluation."),
    click.option("--quiet", is_flag=True, help="Show nothing of what the command prints."),
    title="What is evaluated",
)

judging: Final = together(
    click.option("--metric", metavar="NAME", help="The number to compare; else accuracy, acc, ..., as found."),
    click.option(
        "--higher-is-better/--lower-is-better", default=None, help="Else as the metric's name says, or the harness."
    ),
    click.option(
        "--tolerance",
        metavar="X|X%",
        help="How much worse is still as good: in units of the metric, or of the original. By default 0.5%, or one "
        "standard error where that is larger, up to 2%.",
    ),
    click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Evaluate each so often."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the first repeat; the next is one up."),
    click.option("--seed-variable", metavar="NAME", help="The environment variable that tells the command its seed."),
    title="What is compared",
)
