"""Which two files of a directory are the adapter, and what to say when none are."""

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import msgspec

from gradience.audit.refusal import listed, refuse
from gradience.errors import AdapterError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in the order in which PEFT looks for them

_CHECKPOINT = re.compile(r"checkpoint-(\d{1,18})$")
_STATE_LIMIT = 64 << 20  # bytes of a trainer_state.json that are worth parsing for one number

_LAYOUTS = (  # files that other tools leave, what they are, the mend
    (
        "pytorch_lora_weights*.safetensors",
        "it is a diffusers LoRA, not a PEFT adapter",
        "load it into the pipeline and save its PEFT modules with `save_pretrained`",
    ),
    (
        "adapters.safetensors",
        "it is an mlx-lm adapter, not a PEFT adapter",
        "convert it to the PEFT layout first",
    ),
    (
        "adapter_[0-9]*.pt",
        "it is a torchtune adapter in torchtune's own layout",
        "set `save_adapter_weights_only` and the PEFT output of its checkpointer, and audit that",
    ),
    (
        "pytorch_model_fsdp*",
        "it is an FSDP checkpoint",
        "gather it and save the adapter with `save_pretrained`",
    ),
    (
        "global_step*",
        "it is a DeepSpeed checkpoint",
        "gather it (`zero_to_fp32.py`) and save the adapter with `save_pretrained`",
    ),
    (
        "adapter_model-*-of-*",
        "the adapter is sharded, and PEFT never writes one in shards",
        "save it again with `save_pretrained`",
    ),
    (
        "adapter_model.*.index.json",
        "the adapter is sharded, and PEFT never writes one in shards",
        "save it again with `save_pretrained`",
    ),
)
_MODEL_FILES = ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin")


class Files(msgspec.Struct, frozen=True):
    """The files of one adapter. `given` is the path as the caller wrote it."""

    given: str
    config: Path
    weights: Path
    others: tuple[str, ...] = ()  # further adapters in sub-directories, which are not read

    @property
    def step(self) -> int | None:
        """The optimiser step: from the name of a Trainer checkpoint, else from its trainer_state.json."""
        folder = self.config.parent
        if match := _CHECKPOINT.match(folder.resolve().name):
            return int(match[1])
        return _global_step(folder / "trainer_state.json")


def find(path: str | PathLike[str]) -> Files:
    """The adapter in the directory `path`.

    Raises:
        AdapterError: there is no such directory, or it holds something else; the message says what.
    """
    folder = Path(path)
    try:
        return _find(folder, str(path))
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error


def checkpoints(folder: Path) -> list[Path]:
    """The Trainer checkpoints in `folder` that hold an adapter, by step: 9 comes before 10."""
    steps = {path: int(match[1]) for path in folder.iterdir() if (match := _CHECKPOINT.match(path.name))}
    return [path for path in sorted(steps, key=steps.__getitem__) if (path / CONFIG).is_file()]


def _find(folder: Path, given: str) -> Files:
    if not folder.exists():
        raise refuse(given, "there is no such directory", "check the path")
    if not folder.is_dir():
        raise refuse(given, "it is not a directory", f"give the directory that holds {CONFIG}")
    config = folder / CONFIG
    if not config.is_file():
        raise _without_config(folder)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise _foreign(folder) or refuse(
            folder,
            f"there is a config but none of {', '.join(WEIGHTS)}",
            "save the adapter again, or fetch its weights",
        )
    return Files(given, config, weights, others=tuple(sorted(path.name for path in _adapters(folder))))


def _without_config(folder: Path) -> AdapterError:
    if steps := checkpoints(folder):
        return refuse(
            folder,
            f"it is a Trainer's output without a final adapter ({len(steps)} checkpoints)",
            f"audit the latest one: {steps[-1]}",
        )
    if adapters := sorted(_adapters(folder)):
        return refuse(
            folder,
            f"it holds adapters only in sub-directories ({_names(adapters)})",
            f"give one of them: {adapters[0]}",
        )
    if foreign := _foreign(folder):
        return foreign
    if any(True for name in WEIGHTS if (folder / name).is_file()):
        return refuse(
            folder,
            f"there are weights but no {CONFIG}, so their scale is not known",
            "put the config that training wrote beside them",
        )
    if any(True for pattern in _MODEL_FILES for _ in folder.glob(pattern)):
        return refuse(folder, "it is a full model, not an adapter", f"give the directory that holds {CONFIG}")
    if kohya := next(_kohya(folder), None):
        return refuse(
            kohya, "it is a kohya (sd-scripts) LoRA, not a PEFT adapter", "convert it to the PEFT layout first"
        )
    return refuse(folder, f"there is no {CONFIG}", "give the directory that PEFT's `save_pretrained` wrote")


def _foreign(folder: Path) -> AdapterError | None:
    for pattern, wrong, mend in _LAYOUTS:
        if file := next(iter(sorted(folder.glob(pattern))), None):
            return refuse(file, wrong, mend)
    return None


def _kohya(folder: Path) -> Iterator[Path]:
    """Files with kohya's keys: it writes no config, and the user picks the name."""
    from gradience.audit import safetensors_file

    for file in sorted(folder.glob("*.safetensors")):
        try:
            keys = safetensors_file.header(file)
        except AdapterError:
            continue
        if any(".lora_down." in key or ".lora_up." in key for key in keys):
            yield file


def _adapters(folder: Path) -> Iterator[Path]:
    return (path.parent for path in folder.glob(f"*/{CONFIG}") if not _CHECKPOINT.match(path.parent.name))


def _names(paths: list[Path]) -> str:
    return listed([path.name for path in paths])


def _global_step(file: Path) -> int | None:
    """Only a note in the record: a state file that cannot be read costs the note, not the audit."""
    import json  # accepts the bare NaN that a diverged run leaves in its log history

    try:
        if file.stat().st_size > _STATE_LIMIT:
            return None
        step = json.loads(file.read_bytes())["global_step"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return step if isinstance(step, int) and not isinstance(step, bool) else None
