"""Where settings are found: a file by name, or the one of its kind in a directory; the shallowest wins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gradience.errors import InputError
from gradience.settings import peft, text, tools
from gradience.settings.snapshot import canonical, fill

ADAPTER_NAMES: Final = ("adapter_config.json", "adapter_config.yaml", "adapter_config.yml")
TRAINING_NAMES: Final = (
    "training_args.json", "training_args.yaml", "training_args.yml",
    "training_config.json", "training_config.yaml", "training_config.yml",
)  # fmt: skip
STATE_NAME: Final = "trainer_state.json"
PICKLE_NAME: Final = "training_args.bin"
DEPTH: Final = 2  # folders below the one that was named
LISTED: Final = 10


def adapter(path: Path) -> dict[str, Any]:
    """The adapter's settings from its configuration file, or from a directory that holds one.

    Raises:
        InputError: there is none, there are several, or it cannot be read.
    """
    file = path if path.is_file() else _one(path, ADAPTER_NAMES)
    if file is None:
        raise InputError(
            f"cannot read adapter settings from {path}: no {ADAPTER_NAMES[0]} in it; name the directory that PEFT saved"
        )
    return _read(file)


def training(path: Path) -> dict[str, Any]:
    """The training settings from a file or a directory: training_args.json or .yaml, training_args.bin, or a state.

    Raises:
        InputError: there is none, there are several, or it cannot be read.
    """
    if path.is_file():
        return _read_training(path)
    file = _one(path, TRAINING_NAMES) or _latest(path, PICKLE_NAME) or _latest(path, STATE_NAME)
    if file is None:
        raise InputError(_nothing_in(path))
    return _read_training(file)


def settings(path: Path) -> dict[str, Any]:
    """The settings of a file of either shape.

    Raises:
        InputError: it cannot be read.
    """
    is_training = path.suffix == ".bin" or path.name == STATE_NAME
    return _read_training(path) if is_training and path.is_file() else _read(path)


def _read(file: Path) -> dict[str, Any]:
    read = text.load(file)
    found, strange = canonical(tools.translated(read)), peft.unknown(read)
    return fill(found, {"lora": {"extras": {peft.UNKNOWN: strange}}}) if strange else found


def _read_training(file: Path) -> dict[str, Any]:
    if file.suffix == ".bin":
        from gradience.settings import pickled  # brings pickletools: only where there is a pickle

        return canonical(pickled.load(file))
    read = text.load(file)
    return canonical(_state(read) if file.name == STATE_NAME else tools.translated(read))


def _state(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a trainer's state knows of its settings; the learning rate only as the highest one logged."""
    history = state.get("log_history")
    logged = [
        entry["learning_rate"]
        for entry in (history if isinstance(history, list) else [])
        if isinstance(entry, Mapping) and isinstance(entry.get("learning_rate"), int | float)
    ]
    peak = {"learning_rate": max(logged), "learning_rate_source": "highest in log_history"} if logged else {}
    renamed = {"per_device_train_batch_size": state.get("train_batch_size")}
    kept = {key: state.get(key) for key in ("max_steps", "num_train_epochs")}
    return {**kept, **renamed, **peak}


def _one(folder: Path, names: Sequence[str]) -> Path | None:
    if not folder.is_dir():
        raise InputError(f"cannot read settings from {folder}: no such file or directory; check the path")
    for level in _levels(folder):
        found = [file for name in names for file in level if file.name == name]
        if len({file.parent for file in found}) > 1:
            raise InputError(f"cannot choose settings in {folder}: found {_listing(found)}; name one of them")
        if found:
            return found[0]
    return None


def _latest(folder: Path, name: str) -> Path | None:
    """The file of this name; of checkpoints beside each other that of the latest."""
    for level in _levels(folder):
        found = [file for file in level if file.name == name]
        if found:
            return max(found, key=_step)
    return None


def _levels(folder: Path) -> Iterable[list[Path]]:
    pattern = "*"
    for _ in range(DEPTH + 1):
        yield sorted(path for path in folder.glob(pattern) if path.is_file())
        pattern = f"*/{pattern}"


def _step(file: Path) -> int:
    match = re.search(r"checkpoint-(\d+)$", file.parent.name)
    return int(match.group(1)) if match else -1


def _listing(found: Sequence[Path]) -> str:
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return ", ".join(str(file) for file in found[:LISTED]) + more


def _nothing_in(folder: Path) -> str:
    names = "training_args.json, .yaml or .bin, or trainer_state.json"
    return f"cannot read training settings from {folder}: no {names} in it; name the directory that a training wrote"
