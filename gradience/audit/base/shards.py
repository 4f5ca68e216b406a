"""The tensors of a base model's directory: safetensors, in one file or in shards with an index.

Only headers are read here, and none of them is trusted. Nothing imports torch.
"""

import json
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from gradience.audit.refusal import listed, printable, quoted
from gradience.audit.tensors import safetensors_file
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.errors import InputError

STEMS = ("model", "diffusion_pytorch_model")  # what transformers and diffusers call their weights
CONFIG = "config.json"

_SIZE_LIMIT = 64 << 20  # bytes of a config or an index; those of the largest models have a few
_OTHERS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "*.gguf", "consolidated.*.pth")


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of one model: every tensor by its key, and its config as it is written ({} where there is none)."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def load(path: str | PathLike[str]) -> Base:
    """The base model in the directory `path`.

    Raises:
        InputError: there is none that can be read; the message says what is there.
    """
    folder = Path(path)
    try:
        if not folder.is_dir():
            raise refuse(path, "there is no such directory", "give the directory of its config.json and weights")
        return Base(tensors=_tensors(folder), config=_config(folder / CONFIG))
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error


def refuse(path: str | PathLike[str], wrong: str, mend: str) -> InputError:
    """The error to raise for the base model at `path`."""
    return InputError(printable(f"cannot use the base model {path}: {wrong}; {mend}"))


def _tensors(folder: Path) -> dict[str, Tensor]:
    for stem in STEMS:
        index, single = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
        if index.is_file():
            return _indexed(folder, index)
        if single.is_file():
            return safetensors_file.header(single)
    other = next((file.name for pattern in _OTHERS for file in sorted(folder.glob(pattern))), None)
    if other is not None:
        raise refuse(folder, f"its weights are {quoted(other)}, not safetensors", "save it with `save_pretrained`")
    raise refuse(folder, f"there is no {STEMS[0]}.safetensors and no index of shards", "give the model's directory")


def _indexed(folder: Path, index: Path) -> dict[str, Tensor]:
    try:
        names = msgspec.json.decode(_small(index), type=_Index).weight_map
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(index, f"it is no index of shards ({quoted(error)})", "fetch the model again") from error
    shards = sorted(set(names.values()))
    outside = [shard for shard in shards if PurePosixPath(shard).name != shard or not shard.isprintable()]
    if outside:
        raise refuse(index, f"it names files outside the directory ({listed(outside)})", "fetch the model again")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise refuse(folder, f"{len(missing)} of {len(shards)} shards are missing ({listed(missing)})", "fetch them")
    tensors = {shard: safetensors_file.header(folder / shard) for shard in shards}
    found = {key: tensors[shard][key] for key, shard in names.items() if key in tensors[shard]}
    if lost := sorted(names.keys() - found.keys()):
        raise refuse(index, f"it promises tensors that no shard has ({listed(lost)})", "fetch the model again")
    return found


def _config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(_small(file))  # takes the bare Infinity of some configs
    except (ValueError, RecursionError) as error:
        raise refuse(file, f"it is not JSON ({quoted(error)})", "fetch the model again") from error
    return found if isinstance(found, dict) else {}


def _small(file: Path) -> bytes:
    if file.stat().st_size > _SIZE_LIMIT:
        raise refuse(file, f"it is larger than {_SIZE_LIMIT >> 20} MiB", "check that it is the model's own")
    return file.read_bytes()
