"""An adapter_model.bin, read by torch's restricted unpickler: a file that would run code is refused, never run."""

import pickle
import struct
import warnings
from pathlib import Path

import torch

from gradience.audit.refusal import quoted, refuse
from gradience.audit.safetensors_file import Tensor

# torch's unpickler is a small machine that trusts its program: a damaged one stops it in any of these ways.
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


def header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file by key; the offsets mean nothing here.

    Raises:
        AdapterError: the file cannot be read, or is not a plain dictionary of tensors.
    """
    return {key: _entry(path, key, value) for key, value in tensors(path).items()}


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors themselves, on the CPU; mapped into memory where the file's format allows.

    Raises:
        AdapterError: as `header`.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise refuse(path, "it is a Git LFS pointer, not the weights", "run `git lfs pull`")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch finds odd in a file is refused below, or harmless
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=start.startswith(b"PK"))
    except _DAMAGED as error:
        reason = quoted(str(error).partition("\n")[0])
        wrong = f"torch cannot read it without running code ({reason})"
        raise refuse(path, wrong, "save it again, as safetensors") from error
    if not isinstance(loaded, dict) or not all(_is_entry(key, value) for key, value in loaded.items()):
        raise refuse(path, "it is not a plain dictionary of tensors", "save the adapter with `save_pretrained`")
    return loaded


def _entry(path: Path, key: str, value: torch.Tensor) -> Tensor:
    dtype = _DTYPES.get(value.dtype, str(value.dtype))
    return Tensor(key, dtype, tuple(value.shape), offset=0, nbytes=value.nbytes, file=path)


def _is_entry(key: object, value: object) -> bool:
    return isinstance(key, str) and key.isprintable() and isinstance(value, torch.Tensor) and _is_whole(value)


def _is_whole(value: torch.Tensor) -> bool:
    """A dense tensor with a place for each of its numbers: one that repeats a few would cost memory without bound."""
    if value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.nbytes <= value.untyped_storage().nbytes()
