"""The header of a safetensors file, read without trusting it and without any library.

What is returned satisfies the format's rules: offsets lie inside the file, follow each other without holes or overlaps,
and every tensor has as many bytes as its shape and dtype say.
"""

import math
import struct
from pathlib import Path

import msgspec

from gradience.audit.refusal import quoted, refuse
from gradience.errors import AdapterError

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8,
}  # fmt: skip

_SCALARS = {"F64": "<d", "F32": "<f", "F16": "<e", "BF16": "<f", "I64": "<q", "I32": "<i"}  # BF16: half of an F32
_AGAIN = "fetch it or save it again"
_MOST = 1 << 18  # tensors; three times those of the largest mixture-of-experts adapter
_COLONS = 1 << 19  # in a header beside the four of each tensor: those of other tools' notes on a training
_KEY = 1 << 10  # characters; no path in a model is longer
_DIMENSIONS = 16  # more than any layer has; bounds the cost of multiplying hostile shapes


class Tensor(msgspec.Struct, frozen=True):
    """One tensor of `file`: `offset` and `nbytes` are absolute places in it."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    file: Path
    by_columns: bool = False  # a matrix whose columns lie one after the other; never so in a safetensors file


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)
_METADATA = msgspec.json.Decoder(dict[str, str] | None)
_NONE = msgspec.Raw(b"null")


def header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file by key, in the order of the data.

    Raises:
        AdapterError: the file is not a whole and valid safetensors file.
    """
    size, raw = _read(path)
    return _tensors(path, raw, data=8 + len(raw), size=size)


def metadata(path: Path) -> dict[str, str]:
    """The texts that the writer left beside the tensors.

    Raises:
        AdapterError: as `header`, or they are no texts.
    """
    _, raw = _read(path)
    _check_count(path, raw)
    try:
        return _METADATA.decode(_ENTRIES.decode(raw).get("__metadata__", _NONE)) or {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(path, f"its safetensors metadata is not valid ({quoted(error)})", _AGAIN) from error


def scalar(tensor: Tensor) -> float:
    """The one number of a tensor.

    Raises:
        AdapterError: it has none or more, or it is not finite.
    """
    form = _SCALARS.get(tensor.dtype)
    if form is None or tensor.nbytes != ITEM_BYTES[tensor.dtype]:
        raise refuse(tensor.file, f"{quoted(tensor.key)} is no single number", _AGAIN)
    try:
        with tensor.file.open("rb", buffering=0) as file:
            file.seek(tensor.offset)
            raw = file.read(tensor.nbytes)
        number = struct.unpack(form, b"\0\0" + raw if tensor.dtype == "BF16" else raw)[0]
    except (OSError, struct.error) as error:
        raise refuse(tensor.file, f"{quoted(tensor.key)} cannot be read", "check the file's permissions") from error
    if not math.isfinite(number):
        raise refuse(tensor.file, f"{quoted(tensor.key)} is {number}", _AGAIN)
    return float(number)


def _read(path: Path) -> tuple[int, bytes]:
    """The file's size, and the JSON of its header."""
    try:
        with path.open("rb", buffering=0) as file:
            size = path.stat().st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise _no_header(path, start + file.read(64), size, length)
            return size, file.read(length)
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error


def _tensors(path: Path, raw: bytes, *, data: int, size: int) -> dict[str, Tensor]:
    _check_count(path, raw)
    try:
        entries = _ENTRIES.decode(raw)
        _METADATA.decode(entries.pop("__metadata__", _NONE))
        tensors = [_tensor(path, key, _ENTRY.decode(entry), data) for key, entry in entries.items()]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(path, f"its safetensors header is not valid ({quoted(error)})", _AGAIN) from error
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.offset + tensor.nbytes))
    _check_layout(path, tensors, data=data, size=size)
    return {tensor.key: tensor for tensor in tensors}


def _check_count(path: Path, raw: bytes) -> None:
    """Before anything is decoded: every part of a JSON object costs many times its bytes."""
    count = raw.count(b'"data_offsets"')
    if count > _MOST:
        raise refuse(path, f"its header names {count} tensors, more than any adapter has", "check that it is one")
    if raw.count(b":") > 4 * count + _COLONS or raw.count(b'"__metadata__"') > 1:
        raise refuse(path, "its header holds far more than tensors", _AGAIN)


def _tensor(path: Path, key: str, entry: _Entry, data: int) -> Tensor:
    begin, end = entry.data_offsets
    return Tensor(key, entry.dtype, entry.shape, offset=data + begin, nbytes=end - begin, file=path)


def _check_layout(path: Path, tensors: list[Tensor], *, data: int, size: int) -> None:
    place = data
    for tensor in tensors:
        if tensor.offset != place or tensor.nbytes < 0:
            raise refuse(path, f"its header gives {quoted(tensor.key)} bytes that overlap or leave a hole", _AGAIN)
        _check_tensor(path, tensor)
        place += tensor.nbytes
    if place > size:
        raise refuse(path, f"it is truncated: the header promises {place} bytes, the file has {size}", _AGAIN)
    if place < size:
        raise refuse(path, f"it has {size - place} bytes that its header does not name", _AGAIN)


def _check_tensor(path: Path, tensor: Tensor) -> None:
    if len(tensor.key) > _KEY or not tensor.key.isprintable():
        raise refuse(path, f"its header has the impossible name {quoted(tensor.key)}", _AGAIN)
    if len(tensor.shape) > _DIMENSIONS or min(tensor.shape, default=0) < 0:
        raise refuse(path, f"its header gives {quoted(tensor.key)} an impossible shape", _AGAIN)
    item = ITEM_BYTES.get(tensor.dtype)
    if item is not None and math.prod(tensor.shape) * item != tensor.nbytes:
        raise refuse(path, f"its header gives {quoted(tensor.key)} a shape that does not fit its bytes", _AGAIN)


def _no_header(path: Path, start: bytes, size: int, length: int) -> AdapterError:
    if start.startswith(b"version https://git-lfs"):
        return refuse(path, "it is a Git LFS pointer, not the weights", "run `git lfs pull`")
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return refuse(path, "it is a torch checkpoint with the wrong name", "rename it to adapter_model.bin")
    if not size:
        return refuse(path, "it is empty", _AGAIN)
    if size < 8 or 2 <= length <= HEADER_LIMIT:
        return refuse(path, f"it is truncated: it ends inside its header ({size} bytes)", _AGAIN)
    return refuse(path, "it is not a safetensors file", _AGAIN)
