"""What `gradience audit` measures, and how: the options for it, and the measuring with a bar."""

from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience import audit
from gradience.audit.record import ENERGY_LEVEL, AuditRecord
from gradience.cli.bar import Bar
from gradience.cli.options import together
from gradience.cli.path import A_PATH, A_PLACE
from gradience.references import Fetched


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter, and how it is to be measured; a field for each option."""

    peft_dir: str
    initial: Path | None
    all_checkpoints: bool
    energy_level: float
    device: str
    exact: bool
    base_model: str | None
    copies: int | None
    intruders: int


options: Final = together(
    click.option(
        "--peft-dir",
        type=A_PLACE,
        multiple=True,
        required=True,
        metavar="DIR|REF",
        help="The directory that PEFT saved the adapter to, the LoRA file of another tool, or hf://, s3://, runs:/, "
        "models:/, wandb:// and the like. Repeated, a directory of adapters or a quoted pattern: one row each.",
    ),
    click.option("--initial", type=A_PATH, metavar="DIR", help="The adapter before training, to be subtracted."),
    click.option("--all-checkpoints", is_flag=True, help="Audit every checkpoint in the directory: one row each."),
    click.option("--energy-level", type=click.FloatRange(0, 1, min_open=True), default=ENERGY_LEVEL, show_default=True),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|mps"),
    click.option("--exact", is_flag=True, help="By QR and SVD for every module: slower, and right to the last value."),
    click.option(
        "--base-model",
        type=A_PLACE,
        metavar="DIR|ID",
        help="Set the updates against the weights of this model: a directory, or org/name or hf://org/name on the Hub.",
    ),
    click.option(
        "--intruders",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="With --base-model: search the N most changed modules for directions that their weights did not have.",
    ),
    click.option("--copies", type=click.IntRange(1), metavar="N", help="Adapters of this kind that you serve."),
    title="What is measured",
)


def measure(place: Path | Fetched, asked: Input) -> AuditRecord:
    """The audit itself, of the adapter that was asked for and is at `place` now.

    Raises:
        GradienceError: the adapter cannot be audited.
    """
    with Bar("measuring") as progress:
        return audit.audit(place, **arguments(asked), progress=progress)


def arguments(asked: Input) -> dict[str, Any]:
    """The options of the audit, by the names of its parameters; each as JSON has it."""
    return {
        "initial": None if asked.initial is None else str(asked.initial),
        "energy_level": asked.energy_level,
        "device": asked.device,
        "exact": asked.exact,
        "base_model": asked.base_model,
        "intruders": asked.intruders,
    }
