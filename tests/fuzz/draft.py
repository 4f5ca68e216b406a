"""An adapter under construction: easy to break, and written to disk at the end."""

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import torch

TORCH_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}

Header = list[tuple[str, Any]]  # keys may stand twice, and an entry may be anything


class Stored(msgspec.Struct):
    """One tensor as a file holds it."""

    dtype: str
    shape: list[int]
    data: bytes

    def torch(self) -> torch.Tensor:
        """The same as a tensor of its own memory."""
        whole = torch.frombuffer(bytearray(self.data), dtype=TORCH_DTYPES[self.dtype]) if self.data else torch.empty(0)
        return whole.reshape(self.shape)


class Draft(msgspec.Struct):
    """What is to be written. `form` is safetensors, or zip or legacy for torch's two pickled formats."""

    config: dict[str, Any]
    tensors: dict[str, Stored]
    metadata: dict[str, str]
    form: str = "safetensors"
    has_config: bool = True  # whether the config is written
    initial: "Draft | None" = None  # as it was before training, in LLaMA-Factory's place for it
    weights: str = ""  # the file's name, where it is not PEFT's

    @property
    def weights_name(self) -> str:
        """The weights file that is written."""
        return self.weights or ("adapter_model.safetensors" if self.form == "safetensors" else "adapter_model.bin")

    def header(self) -> Header:
        """The entries of a safetensors header, in the order of the data."""
        entries: Header = [("__metadata__", dict(self.metadata))] if self.metadata else []
        place = 0
        for key, tensor in self.tensors.items():
            end = place + len(tensor.data)
            entries.append((key, {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [place, end]}))
            place = end
        return entries

    def data(self) -> bytes:
        """The bytes behind the header."""
        return b"".join(tensor.data for tensor in self.tensors.values())

    def pickled(self) -> bytes:
        """The tensors as torch saves them; its older format cannot hold the smallest types."""
        is_new = self.form == "zip" or any(tensor.dtype.startswith("F8") for tensor in self.tensors.values())
        file = io.BytesIO()
        torch.save(
            {key: tensor.torch() for key, tensor in self.tensors.items()},
            file,
            _use_new_zipfile_serialization=is_new,
        )
        return file.getvalue()


def stored(values: np.ndarray, dtype: str = "F32") -> Stored:
    """The numbers, rounded to `dtype`."""
    tensor = torch.from_numpy(np.array(values, dtype=np.float64)).to(TORCH_DTYPES[dtype]).contiguous()
    return Stored(dtype, list(values.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def header_text(header: Header) -> bytes:
    """The entries as JSON, even where a key stands twice."""
    return ("{" + ",".join(f"{json.dumps(key)}:{json.dumps(entry)}" for key, entry in header) + "}").encode()


def with_length(text: bytes, data: bytes, length: int | None = None) -> bytes:
    """A whole safetensors file; `length` lies about the header's."""
    said = len(text) if length is None else length
    return said.to_bytes(8, "little") + text + data


def config_text(config: Mapping[str, Any]) -> bytes:
    """As PEFT writes it."""
    return json.dumps(config, indent=2, sort_keys=True).encode()
