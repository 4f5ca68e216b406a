"""Which two files of a directory are the adapter, and what to say when none are."""

import glob
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import msgspec

from gradience.audit.disk import foreign, layouts, trainer
from gradience.audit.disk.trainer import CONFIG
from gradience.audit.refusal import named, refuse
from gradience.errors import AdapterError

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in the order in which PEFT looks for them

CONVERTED = "pissa_converted"  # LLaMA-Factory's folders around a PiSSA training; only this one is the true difference
_UNCONVERTED = ("pissa_init", "pissa_backup")


class Files(msgspec.Struct, frozen=True):
    """The files of one adapter. `given` is the path as the caller wrote it."""

    given: str
    config: Path
    weights: Path
    others: tuple[str, ...] = ()  # further adapters in sub-directories, which are not read
    linked: tuple[str, ...] = ()  # names of files that are links to somewhere else
    layout: str | None = None  # of another tool than PEFT; then the config may be the weights themselves

    @property
    def step(self) -> int | None:
        """The optimiser step of a Trainer's checkpoint or output, where the directory tells."""
        return trainer.step(self.config.parent)


def find(path: str | PathLike[str], *, unconverted: bool = False) -> Files:
    """The adapter in the directory `path`, or in that file, where it is another tool's.

    `unconverted` allows LLaMA-Factory's raw copies of a PiSSA adapter.

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
        return [*steps, folder] if not steps or trainer.holds_adapter(folder) else steps
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error


def _find(folder: Path, given: str, *, unconverted: bool) -> Files:
    if not folder.exists():
        is_pattern = glob.has_magic(given)
        raise refuse(given, "no adapter matches it" if is_pattern else "there is no such directory", "check the path")
    if not folder.is_dir():
        return _file(folder, given)
    home = trainer.home(folder)
    if home is None:
        return _without_config(folder, given)
    if not unconverted and home.resolve().name in _UNCONVERTED:
        raise _unconverted(home)
    weights = next((home / name for name in WEIGHTS if (home / name).is_file()), None)
    if weights is None:
        return _without_weights(home, given)
    others = sorted(path.name for path in _adapters(folder) if path != home)
    linked = _linked(home.resolve(), (home / CONFIG, weights))
    return Files(given, home / CONFIG, weights, others=tuple(others), linked=linked)


def _linked(here: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Files that lie elsewhere; a hub cache is one place, whose snapshots link to its blobs."""
    places = [here, *(parent.parent / "blobs" for parent in here.parents if parent.name == "snapshots")]
    return tuple(file.name for file in files if not any(map(file.resolve().is_relative_to, places)))


def _file(file: Path, given: str) -> Files:
    """A file of another tool; of PEFT's two files neither is an adapter alone."""
    home = f"give the directory that holds {CONFIG}"
    if file.suffix != ".safetensors" or file.name in WEIGHTS:
        raise refuse(given, "it is not a directory", home)
    found = foreign.layout(file)
    if found is None:
        raise refuse(file, f"it holds no LoRA of {', '.join(foreign.LAYOUTS)}", home)
    linked = _linked(file.parent.resolve(), (file,))
    return Files(given, found.settings(file), file, linked=linked, layout=found.NAME)


def _without_weights(home: Path, given: str) -> Files:
    if file := _by_name(home):
        return _file(file, given)
    raise layouts.foreign(home) or refuse(
        home,
        f"there is a config but none of {', '.join(WEIGHTS)}",
        "save the adapter again, or fetch its weights",
    )


def _without_config(folder: Path, given: str) -> Files:
    if file := _by_name(folder):
        return _file(file, given)
    if steps := trainer.checkpoints(folder):
        raise _without_final(folder, steps)
    if adapters := sorted(_adapters(folder)):
        chosen = next((path for path in adapters if path.name == CONVERTED), adapters[0])
        raise refuse(folder, f"it holds adapters only in sub-directories ({_names(adapters)})", f"audit {chosen}")
    if any(True for name in WEIGHTS if (folder / name).is_file()):
        raise refuse(
            folder,
            f"there are weights but no {CONFIG}, so their scale is not known",
            "put the config that training wrote beside them",
        )
    if file := _only(folder, list(foreign.files(folder))):
        return _file(file, given)
    raise layouts.foreign(folder) or _nothing(folder)


def _by_name(folder: Path) -> Path | None:
    """The file that another tool would look for."""
    return next((folder / name for name in trainer.FOREIGN if (folder / name).is_file()), None)


def _only(folder: Path, files: list[Path]) -> Path | None:
    """The only file of another tool."""
    if len(files) > 1:
        raise refuse(folder, f"it holds several LoRA files ({_names(files)})", f"give one of them: {files[-1]}")
    return files[0] if files else None


def _nothing(folder: Path) -> AdapterError:
    if layouts.is_model(folder):
        return refuse(folder, "it is a full model, not an adapter", f"give the directory that holds {CONFIG}")
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
    converted = folder.resolve().parent / CONVERTED
    mend = f"audit {converted}" if (converted / CONFIG).is_file() else "convert it, and audit the result"
    return refuse(folder, "it is LLaMA-Factory's copy of a PiSSA adapter: B @ A is not its update", mend)


def _adapters(folder: Path) -> Iterator[Path]:
    return (path.parent for path in folder.glob(f"*/{CONFIG}") if not trainer.is_checkpoint(path.parent))


def _names(paths: list[Path]) -> str:
    return named([path.name for path in paths])
