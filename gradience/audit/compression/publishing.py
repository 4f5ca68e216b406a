"""A new directory that is there as a whole or not at all, and the files that go along with an adapter."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gradience.audit.disk import trainer
from gradience.audit.disk.folder import WEIGHTS, Files
from gradience.audit.refusal import refuse

# Of a checkpoint: what continues its training. None of it is true of another adapter.
_TRAINING: Final = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "global_step")
_HEADS: Final = ("value_head.safetensors", "value_head.bin")  # LLaMA-Factory's reward models: of the model, not of A B
_WEIGHTS: Final = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz", ".jsonl"}
_LARGEST: Final = 64 << 20  # bytes; a tokenizer stays below


def check(out: Path) -> None:
    """Raise AdapterError where something has that name already: to be known before anything is measured."""
    if os.path.lexists(out):
        raise refuse(out, "it is there already", "nothing is overwritten: give another --out", act="write to")


@contextmanager
def new(out: Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` when the block ends well; else nothing of it stays.

    Raises:
        AdapterError: there is something under that name already, or no folder to put it in.
    """
    check(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise refuse(out, f"{error.strerror}", "give a folder that can be written as --out", act="write to") from error
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        _sync(folder)
        folder.rename(out)
        _sync(out.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def companions(files: Files, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what lies beside an adapter and is true of its compressed form too; names of those copied and those not."""
    own = {files.config.name, files.weights.name, *WEIGHTS, trainer.CONFIG}
    beside = sorted(path for path in files.config.parent.iterdir() if path.is_file() and path.name not in own)
    copied = [path for path in beside if _goes_along(path)]
    for path in copied:
        shutil.copy(path, folder / path.name)
    return tuple(path.name for path in copied), tuple(path.name for path in beside if path not in copied)


def _goes_along(path: Path) -> bool:
    if path.name in _HEADS:
        return True
    is_training = path.name.startswith((*_TRAINING, ".")) or path.suffix in _WEIGHTS
    return not is_training and path.stat().st_size <= _LARGEST


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(folder: Path) -> None:
    for path in [folder, *(one for one in folder.iterdir() if one.is_file())] if folder.is_dir() else []:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
