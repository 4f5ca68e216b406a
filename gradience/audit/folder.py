"""Which two files of a directory are the adapter, and what to say when none are."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import msgspec

from gradience.audit import layouts, trainer
from gradience.audit.refusal import named, refuse
from gradience.audit.trainer import CONFIG
from gradience.errors import AdapterError

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in the order in which PEFT looks for them

_CONVERTED = "pissa_converted"  # LLaMA-Factory's folders around a PiSSA training; only this one is the true difference
_UNCONVERTED = ("pissa_init", "pissa_backup")


class Files(msgspec.Struct, frozen=True):
    """The files of one adapter. `given` is the path as the caller wrote it."""

    given: str
    config: Path
    weights: Path
    others: tuple[str, ...] = ()  # further adapters in sub-directories, which are not read
    linked: tuple[str, ...] = ()  # names of files that are links to somewhere else

    @property
    def step(self) -> int | None:
        """The optimiser step of a Trainer's checkpoint or output, where the directory tells."""
        return trainer.step(self.config.parent)


def find(path: str | PathLike[str], *, unconverted: bool = False) -> Files:
    """The adapter in the directory `path`; `unconverted` allows LLaMA-Factory's raw copies of a PiSSA adapter.

    Raises:
        AdapterError: there is no such directory, or it holds something else; the message says what.
    """
    folder = Path(path)
    try:
        return _find(folder, str(path), unconverted=unconverted)
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error


def series(path: str | PathLike[str]) -> list[Path]:
    """The adapters of a Trainer's output directory: its checkpoints by step, then the final adapter if there is one.

    Raises:
        AdapterError: there are none; the message is that of `find`.
    """
    folder = Path(path)
    try:
        steps = trainer.checkpoints(folder) if folder.is_dir() else []
        return [*steps, folder] if not steps or trainer.home(folder) else steps
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error


def _find(folder: Path, given: str, *, unconverted: bool) -> Files:
    if not folder.exists():
        raise refuse(given, "there is no such directory", "check the path")
    if not folder.is_dir():
        raise refuse(given, "it is not a directory", f"give the directory that holds {CONFIG}")
    home = trainer.home(folder)
    if home is None:
        raise _without_config(folder)
    if not unconverted and home.resolve().name in _UNCONVERTED:
        raise _unconverted(home)
    weights = next((home / name for name in WEIGHTS if (home / name).is_file()), None)
    if weights is None:
        raise layouts.foreign(home) or refuse(
            home,
            f"there is a config but none of {', '.join(WEIGHTS)}",
            "save the adapter again, or fetch its weights",
        )
    others = sorted(path.name for path in _adapters(folder) if path != home)
    linked = _linked(home.resolve(), (home / CONFIG, weights))
    return Files(given, home / CONFIG, weights, others=tuple(others), linked=linked)


def _linked(here: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Files that lie elsewhere; a hub cache is one place, whose snapshots link to its blobs."""
    places = [here, *(parent.parent / "blobs" for parent in here.parents if parent.name == "snapshots")]
    return tuple(file.name for file in files if not any(map(file.resolve().is_relative_to, places)))


def _without_config(folder: Path) -> AdapterError:
    if steps := trainer.checkpoints(folder):
        return _without_final(folder, steps)
    if adapters := sorted(_adapters(folder)):
        chosen = next((path for path in adapters if path.name == _CONVERTED), adapters[0])
        return refuse(folder, f"it holds adapters only in sub-directories ({_names(adapters)})", f"audit {chosen}")
    if found := layouts.foreign(folder):
        return found
    if any(True for name in WEIGHTS if (folder / name).is_file()):
        return refuse(
            folder,
            f"there are weights but no {CONFIG}, so their scale is not known",
            "put the config that training wrote beside them",
        )
    if layouts.is_model(folder):
        return refuse(folder, "it is a full model, not an adapter", f"give the directory that holds {CONFIG}")
    if kohya := next(layouts.kohya(folder), None):
        return refuse(
            kohya, "it is a kohya (sd-scripts) LoRA, not a PEFT adapter", "convert it to the PEFT layout first"
        )
    return refuse(folder, f"there is no {CONFIG}", "give the directory that PEFT's `save_pretrained` wrote")


def _without_final(folder: Path, steps: list[Path]) -> AdapterError:
    elsewhere = sorted(_adapters(folder))
    beside = f"; adapters in sub-directories: {_names(elsewhere)}" if elsewhere else ""
    latest, best = steps[-1], trainer.best(steps)
    word = ", also the best by evaluation" if best == latest else ""
    other = f", the best by evaluation, {best}" if best not in (None, latest) else ""
    return refuse(
        folder,
        f"it is a Trainer's output without a final adapter (checkpoints: {len(steps)}{beside})",
        f"audit the latest one{word}, {latest}{other}, or all of them with --all-checkpoints",
    )


def _unconverted(folder: Path) -> AdapterError:
    """Their config claims a plain initialisation: nothing but the folder's name tells what they are."""
    converted = folder.resolve().parent / _CONVERTED
    mend = f"audit {converted}" if (converted / CONFIG).is_file() else "convert it, and audit the result"
    return refuse(folder, "it is LLaMA-Factory's copy of a PiSSA adapter: B @ A is not its update", mend)


def _adapters(folder: Path) -> Iterator[Path]:
    return (path.parent for path in folder.glob(f"*/{CONFIG}") if not trainer.is_checkpoint(path.parent))


def _names(paths: list[Path]) -> str:
    return named([path.name for path in paths])
