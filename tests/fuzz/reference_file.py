"""The tensors of a weights file for the reference: from the library that owns the format, where it takes the file.

Each library refuses some files for reasons that say nothing about the numbers: those are read by the format's rule.
"""

import io
import json
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import torch

_DAMAGED: Final = (struct.error, pickle.PickleError, zipfile.BadZipFile, StopIteration, NotImplementedError, EOFError)


class UnknownError(Exception):
    """The reference does not know what this adapter's update is: nobody may give a number for it."""


def factors(path: Path) -> dict[str, np.ndarray]:
    """Everything that is part of an update, exactly: what has `lora` in its key, and alphas."""
    if path.suffix == ".safetensors":
        return {key: _numbers(**entry) for key, entry in _entries(path.read_bytes()) if _is_part(key)}
    tensors = {key: value for key, value in _loaded(path).items() if _is_part(key)}
    return {key: value.detach().double().numpy().astype(np.longdouble) for key, value in tensors.items()}


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors."""
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__") or {}


def _is_part(key: str) -> bool:
    return "lora" in key or key.endswith(".alpha")


def _entries(raw: bytes) -> list[tuple[str, Any]]:
    try:
        return list(safetensors.deserialize(raw))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:  # JSON that nests deeply, a type of a tensor that is no factor
        try:
            return _by_rule(raw)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise UnknownError(f"safetensors: {error}") from error


def _by_rule(raw: bytes) -> list[tuple[str, Any]]:
    """The tensors follow each other from the end of the header to the end of the file."""
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    begins, ends = (list(column) for column in zip(*(entry["data_offsets"] for _, entry in entries), strict=True))
    if [0, *ends] != [*begins, len(raw) - start]:
        raise ValueError("holes or overlaps")
    return [
        (key, {"dtype": one["dtype"], "shape": one["shape"], "data": raw[start + begin : start + end]})
        for (key, one), begin, end in zip(entries, begins, ends, strict=True)
    ]


def _numbers(*, dtype: str, data: bytes, shape: list[int]) -> np.ndarray:
    """The numbers of a tensor, from their bits."""
    if dtype in ("F64", "F32", "F16"):
        return np.frombuffer(data, dtype=f"<f{int(dtype[1:]) // 8}").astype(np.longdouble).reshape(shape)
    if dtype == "BF16":
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.longdouble).reshape(shape)
    if dtype in _FLOAT8:
        return _FLOAT8[dtype][np.frombuffer(data, dtype=np.uint8)].astype(np.longdouble).reshape(shape)
    if dtype in _INTEGERS:
        return np.frombuffer(data, dtype=_INTEGERS[dtype]).astype(np.longdouble).reshape(shape)
    return np.full(shape[:2], np.nan, dtype=np.longdouble)  # no factor has such a type


def _float8(exponent_bits: int, mantissa_bits: int, *, has_infinity: bool) -> np.ndarray:
    """The value of each of the 256 bytes: sign, exponent, mantissa."""
    bias, top = 2 ** (exponent_bits - 1) - 1, 2**exponent_bits - 1
    values = []
    for byte in range(256):
        sign = -1.0 if byte & 0x80 else 1.0
        exponent, mantissa = (byte & 0x7F) >> mantissa_bits, byte & (2**mantissa_bits - 1)
        if has_infinity and exponent == top:
            values.append(math.nan if mantissa else sign * math.inf)
        elif not has_infinity and byte & 0x7F == 0x7F:
            values.append(math.nan)
        elif exponent:
            values.append(sign * (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias))
        else:
            values.append(sign * mantissa / 2**mantissa_bits * 2.0 ** (1 - bias))
    return np.array(values)


_INTEGERS: Final = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"}
_FLOAT8: Final = {
    "F8_E4M3": _float8(4, 3, has_infinity=False),
    "F8_E5M2": _float8(5, 2, has_infinity=True),
}


def _loaded(path: Path) -> dict[str, torch.Tensor]:
    try:
        loaded: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch's unpickler fails in many ways: other protocols, odd names of archives
        try:
            return _unpickled(path)
        except (ValueError, LookupError, TypeError, AttributeError, OSError, *_DAMAGED):
            raise UnknownError(f"torch: {error}") from error
    return loaded


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Python's own unpickler over the archive, which knows no more names than a dictionary of tensors needs."""
    with zipfile.ZipFile(path) as archive:
        loaded: dict[str, torch.Tensor] = _Unpickler(archive).load()
    return loaded


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        super().__init__(io.BytesIO(self._read("data.pkl")))

    def _read(self, name: str) -> bytes:
        return self._archive.read(
            next(one for one in self._archive.namelist() if (one.partition("/")[2] or one) == name)
        )

    def find_class(self, module: str, name: str) -> Any:
        """The few names that are known."""
        return _NAMES[f"{module}.{name}"]

    def persistent_load(self, identity: Any) -> tuple[torch.dtype, bytes]:
        """A storage: its type and its bytes."""
        _, dtype, key, _, numel = identity
        data = self._read(f"data/{key}")
        if len(data) != numel * dtype.itemsize:
            raise ValueError("another length")
        return dtype, data


def _rebuilt(
    storage: tuple[torch.dtype, bytes], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Any:
    dtype, data = storage
    return torch.frombuffer(bytearray(data), dtype=dtype).as_strided(shape, stride, offset)


_NAMES: Final[dict[str, Callable[..., Any] | torch.dtype]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": lambda *given: _rebuilt((given[6], given[0][1]), *given[1:4]),
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.float8_e4m3fn": torch.float8_e4m3fn,
    "torch.float8_e5m2": torch.float8_e5m2,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
}
