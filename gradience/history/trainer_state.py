"""What a Hugging Face Trainer logged, from the `trainer_state.json` of its output directory or of a checkpoint.

The state tells steps and no times: every event carries the time at which the file was written.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gradience.errors import InputError
from gradience.vnext.types import SCHEMA

NAME: Final = "trainer_state.json"
_TRAIN: Final = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
_SUMMARY: Final = "train_runtime"  # of the entry that a Trainer logs when it has trained to the end
_SPEED: Final = re.compile(
    r"(?:^|_)(?:runtime|samples_per_second|steps_per_second|jit_compilation_time|model_preparation_time)$"
)
_CHECKPOINT: Final = re.compile(r"checkpoint-(\d{1,18})")


def find(folder: Path) -> Path | None:
    """The state in a directory, else that of its latest checkpoint; None if there is none."""
    if (folder / NAME).is_file():
        return folder / NAME
    steps = {path: int(match[1]) for path in _children(folder) if (match := _CHECKPOINT.fullmatch(path.name))}
    latest = sorted(steps, key=steps.__getitem__, reverse=True)
    return next((path / NAME for path in latest if (path / NAME).is_file()), None)


def read(path: Path) -> dict[str, Any]:
    """The state of a file, NaN as Trainers write it included.

    Raises:
        InputError: It cannot be read, or is no Trainer's state.
    """
    try:
        state = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: it is no JSON ({error})") from error
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise InputError(f"cannot read {path}: it is no Trainer's state, for it has no list log_history")
    return state


def events(state: Mapping[str, Any], *, run_id: str, ts: float) -> Iterator[dict[str, Any]]:
    """The events of a run, as its recorder would have written them; `ts` is when the state was written.

    An end is told only where the Trainer logged one. Evaluations of one set have the split `eval`; those of several
    have the name that each set was given.
    """
    entries = [entry for entry in state["log_history"] if isinstance(entry, dict)]
    summary = next((entry for entry in reversed(entries) if _SUMMARY in entry), None)
    took = _number(summary[_SUMMARY]) if summary else None

    def event(name: str, step: Any = None, **payload: Any) -> dict[str, Any]:
        head = {"schema": SCHEMA, "ts": ts, "run_id": run_id, "event": name}
        return {**head, "step": step if type(step) is int and step >= 0 else None, **payload}

    yield event("run_start", config=_config(state), meta={"source": NAME}) | {"ts": ts - (took or 0.0)}
    for entry in entries:
        step = entry.get("step")
        if numbers := training(entry):
            yield event("train_step", step, **numbers)
        for split, metrics in evaluations(entry).items():
            yield event("eval", step, split=split, metrics=metrics)
    if summary is not None:
        yield event("run_end", status="ok")


def training(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, learning rate and gradient norm of an entry, under our names."""
    return {ours: entry[theirs] for theirs, ours in _TRAIN.items() if _is_number(entry.get(theirs))}


def _config(state: Mapping[str, Any]) -> dict[str, Any]:
    training = {
        "max_steps": state.get("max_steps"),
        "epochs": state.get("num_train_epochs"),
        "batch_size": state.get("train_batch_size"),
    }
    return {"training": {name: value for name, value in training.items() if (_number(value) or 0) > 0}}


def evaluations(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics of an entry by split. A set's own name is known by its `eval_<name>_runtime`, which is always logged."""
    keys = [key.removeprefix("eval_") for key in entry if isinstance(key, str) and key.startswith("eval_")]
    sets = sorted((key.removesuffix("_runtime") for key in keys if key.endswith("_runtime")), key=len, reverse=True)
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        value = entry[f"eval_{key}"]
        if _is_number(value) and not _SPEED.search(key):
            name = next((one for one in sets if key.startswith(f"{one}_")), "")
            found.setdefault(name or "eval", {})[key.removeprefix(f"{name}_") if name else key] = value
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) and 0 <= value < 1e12 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
