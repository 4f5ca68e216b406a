"""An adapter_model.bin: the places of its tensors, found without torch and without running what is in it.

Both formats are known, the archive of today and the stream of before; in both the numbers of a tensor stand together,
so that they are read like those of a safetensors file.
"""

import io
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from gradience.audit.refusal import refuse
from gradience.audit.tensors import torch_archive, torch_pickle
from gradience.audit.tensors.safetensors_file import ITEM_BYTES, Tensor
from gradience.audit.tensors.torch_pickle import ForeignPickleError, Storage, View

_PICKLE_LIMIT: Final = 4 << 20  # bytes: the pickle of 10,000 tensors, and a few seconds
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # first value of the older format
_DIMENSIONS: Final = 16  # more than any layer has; bounds the cost of multiplying hostile shapes
_SHARING: Final = 4  # times the file's size that its tensors may have together: a few are tied, never all
_STRIDED: Final = " in strides"  # makes a dtype that no factor may have
_AGAIN: Final = "save it again, as safetensors"

_Placed = Callable[[Storage], int]  # the first byte of a storage


def header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file by key, with its place; one whose numbers are scattered has a dtype that says so.

    Raises:
        AdapterError: the file cannot be read, or is not a plain dictionary of tensors.
    """
    try:
        with path.open("rb") as file:
            return _tensors(path, file, path.stat().st_size)
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error
    except ForeignPickleError as error:
        wrong = f"it is not a plain dictionary of tensors: it holds {error}, which was not run"
        raise refuse(path, wrong, _AGAIN) from error
    except (ValueError, LookupError, TypeError, struct.error) as error:
        raise refuse(path, f"torch did not write it, or it is damaged ({error})", _AGAIN) from error


def _tensors(path: Path, file: BinaryIO, size: int) -> dict[str, Tensor]:
    start = file.read(64)
    file.seek(0)
    if start.startswith(b"version https://git-lfs"):
        raise refuse(path, "it is a Git LFS pointer, not the weights", "run `git lfs pull`")
    value, placed = _archive(file, size) if start.startswith(b"PK") else _stream(file)
    if not _is_table(value):
        raise refuse(path, "it is not a plain dictionary of tensors", _AGAIN)
    tensors = {key: _tensor(path, key, view, placed) for key, view in value.items()}
    if any(tensor.offset + tensor.nbytes > size for tensor in tensors.values() if _STRIDED not in tensor.dtype):
        raise ValueError("it is truncated")
    if sum(tensor.nbytes for tensor in tensors.values()) > _SHARING * size:
        raise refuse(path, "it is not a plain dictionary of tensors: they repeat their numbers", _AGAIN)
    return tensors


def _archive(file: BinaryIO, size: int) -> tuple[Any, _Placed]:
    """The format of today: a zip of one pickle and a file for each storage."""
    entries = torch_archive.entries(file, size)
    raw = {name: _content(file, entries, name) for name in ("data.pkl", "byteorder")}
    if raw["byteorder"] not in (b"", b"little"):
        raise ValueError("it was written on a big-endian machine")

    def placed(storage: Storage) -> int:
        entry = entries[f"data/{storage.key}"]
        if entry.nbytes != _nbytes(storage):
            raise ValueError("a storage has another length than its tensors")
        return torch_archive.data(file, entry)

    return torch_pickle.read(io.BytesIO(raw["data.pkl"])), lru_cache(None)(placed)


def _content(file: BinaryIO, entries: Mapping[str, torch_archive.Entry], name: str) -> bytes:
    if name not in entries:
        return b""
    if entries[name].nbytes > _PICKLE_LIMIT:
        raise ValueError("it names more tensors than an adapter has")
    file.seek(torch_archive.data(file, entries[name]))
    return file.read(entries[name].nbytes)


def _stream(file: BinaryIO) -> tuple[Any, _Placed]:
    """The format of before: five pickles, and then each storage after its length."""
    pickles = io.BytesIO(file.read(_PICKLE_LIMIT))
    if torch_pickle.read(pickles) != _MAGIC:
        raise ValueError("it starts with another value")
    _version, machine, value, order = (torch_pickle.read(pickles) for _ in range(4))
    if not machine["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    storages = {view.storage.key: view.storage for view in value.values()} if _is_table(value) else {}
    places: dict[Storage, int] = {}
    place = pickles.tell()
    for storage in (storages[key] for key in order):
        file.seek(place)
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise ValueError("a storage has another length than its tensors")
        places[storage] = place + 8
        place += 8 + _nbytes(storage)
    return value, places.__getitem__


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_entry(key, view) for key, view in value.items())


def _is_entry(key: str, view: Any) -> bool:
    return key.isprintable() and isinstance(view, View) and len(view.shape) <= _DIMENSIONS


def _nbytes(storage: Storage) -> int:
    return storage.numel * ITEM_BYTES[storage.dtype]


def _tensor(path: Path, key: str, view: View, placed: _Placed) -> Tensor:
    item, count = ITEM_BYTES.get(view.dtype, 0), math.prod(view.shape)
    nbytes, begin = item * count, item * view.offset
    by_rows = _is_contiguous(view.shape, view.stride)
    by_columns = not by_rows and len(view.shape) == 2 and _is_contiguous(view.shape[::-1], view.stride[::-1])
    scattered = not (by_rows or by_columns)
    if not scattered and begin + nbytes > _nbytes(view.storage):
        raise ValueError("a tensor is larger than its storage")
    dtype = view.dtype + _STRIDED * scattered
    place = placed(view.storage) + begin
    return Tensor(key, dtype, view.shape, offset=place, nbytes=nbytes, file=path, by_columns=by_columns)


def _is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    expected = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != expected:
            return not math.prod(shape)
        expected *= length
    return True
