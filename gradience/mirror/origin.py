"""Whose run a journal is: the record of a training, or one that a command had to make for somebody else's adapter.

The training of the latter may have been tracked by its own means, and is recognised by its output directory. A
training of ours never is: its directory may be that of yesterday's run.
"""

from pathlib import Path
from typing import Final, Literal, get_args

from gradience.mirror.sink import Run

Maker = Literal["gradience audit", "gradience compress", "gradience verify"]  # `meta.created_by` of such a journal

AUDIT: Final[Maker] = "gradience audit"
COMPRESS: Final[Maker] = "gradience compress"
VERIFY: Final[Maker] = "gradience verify"
_CHECKPOINT: Final = "checkpoint-"


def trains(run: Run) -> bool:
    """Whether the journal is the record of a training, even of one that said nothing about itself."""
    return run.meta.get("created_by") not in get_args(Maker)


def directories(run: Run) -> list[Path]:
    """Where the training may have written: as the journal says, else the folder it lies in, checkpoints' parent too."""
    folder = Path(run.journal).parent
    if given := run.meta.get("output_dir"):
        return [(folder / str(given)).resolve(), Path(str(given)).resolve()]
    return [folder.resolve(), *([folder.parent.resolve()] if folder.name.startswith(_CHECKPOINT) else [])]
