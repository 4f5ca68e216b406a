"""What a Trainer leaves in its output directory: checkpoints by step, and the state that says which was the best."""

import re
from pathlib import Path

import msgspec

CONFIG = "adapter_config.json"
STATE = "trainer_state.json"

FOREIGN = ("pytorch_lora_weights.safetensors", "adapters.safetensors")  # the names that diffusers and mlx-lm look for

_CHECKPOINT = re.compile(r"checkpoint-(\d{1,18})$|(\d{1,18})_adapters\.safetensors$")  # a folder, or a file of mlx-lm
_STATE_LIMIT = 64 << 20  # bytes of a state file that are worth reading for notes
_NO_JSON = (b"-Infinity", b"Infinity", b"NaN")  # what a diverged run leaves in its log


class _State(msgspec.Struct, frozen=True):
    global_step: int | None = None
    best_model_checkpoint: str | None = None


def home(folder: Path) -> Path | None:
    """Where the adapter of `folder` lies: in it, or in the `adapter_model` that some trainers put into a checkpoint."""
    return next((place for place in (folder, folder / "adapter_model") if (place / CONFIG).is_file()), None)


def holds_adapter(folder: Path) -> bool:
    """Whether there is an adapter in `folder`, of PEFT or of another tool that writes checkpoints."""
    return home(folder) is not None or any((folder / name).is_file() for name in FOREIGN)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder` that hold an adapter, by step: 9 comes before 10."""
    steps = {path: number for path in folder.iterdir() if (number := number_in(path.name)) is not None}
    return [path for path in sorted(steps, key=steps.__getitem__) if path.is_file() or holds_adapter(path)]


def is_checkpoint(folder: Path) -> bool:
    """Whether the name is that of a checkpoint."""
    return number_in(folder.name) is not None


def number_in(name: str) -> int | None:
    """The step in the name of a checkpoint; None if it is no such name."""
    match = _CHECKPOINT.match(name)
    return int(match[1] or match[2]) if match else None


def best(steps: list[Path]) -> Path | None:
    """The one of these checkpoints that the last one's state names as the best by evaluation."""
    named = _state(steps[-1]).best_model_checkpoint
    return next((path for path in steps if named is not None and path.name == Path(named).name), None)


def step(folder: Path) -> int | None:
    """The optimiser step of the adapter in `folder`: from the name of its checkpoint, else from the state beside it."""
    here = folder.resolve()
    named = next((number for path in (here, here.parent) if (number := number_in(path.name)) is not None), None)
    return named if named is not None else _state(folder).global_step


def _state(folder: Path) -> _State:
    """Only notes: a state that cannot be read costs them, not the audit. Its long log is passed over, not kept."""
    file = folder / STATE
    try:
        usable = file.is_file() and file.stat().st_size <= _STATE_LIMIT  # a pipe would block
        raw = file.read_bytes() if usable else b"{}"
        for number in _NO_JSON:
            raw = raw.replace(number, b"null")
        return msgspec.json.decode(raw, type=_State)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _State()
