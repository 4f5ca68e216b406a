"""Adapters of the shapes of Llama 3, in bf16, made for benchmarks: A as PEFT draws it, B with fading columns."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch


class Shape(NamedTuple):
    """A base model: its widths, how many blocks it has, and the rank of the adapter."""

    hidden: int
    key_value: int
    inner: int
    blocks: int
    r: int

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Width of input and output of each adapted layer of a block."""
        return {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (self.hidden, self.key_value),
            "self_attn.v_proj": (self.hidden, self.key_value),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.hidden, self.inner),
            "mlp.up_proj": (self.hidden, self.inner),
            "mlp.down_proj": (self.inner, self.hidden),
        }


TINY = Shape(hidden=64, key_value=16, inner=224, blocks=2, r=8)
LLAMA_8B = Shape(hidden=4096, key_value=1024, inner=14336, blocks=32, r=16)
LLAMA_70B = Shape(hidden=8192, key_value=1024, inner=28672, blocks=80, r=64)


def write(folder: Path, shape: Shape) -> Path:
    """Write the adapter, tensor by tensor; returns `folder`."""
    folder.mkdir(parents=True)
    targets = [name.split(".")[1] for name in shape.layers]
    config = {"peft_type": "LORA", "r": shape.r, "lora_alpha": 2 * shape.r, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    header, place = {}, 0
    for key, (rows, columns) in _factors(shape):
        end = place + 2 * rows * columns
        header[key] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [place, end]}
        place = end
    raw = json.dumps(header).encode()
    generator = torch.Generator().manual_seed(0)
    with weights(folder).open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for key, size in _factors(shape):
            file.write(_drawn(key, size, generator).view(torch.int16).numpy().data)
    return folder


def weights(folder: Path) -> Path:
    """The adapter's weights."""
    return folder / "adapter_model.safetensors"


def modules(shape: Shape) -> int:
    """How many layers are adapted."""
    return shape.blocks * len(shape.layers)


def _factors(shape: Shape) -> Iterator[tuple[str, tuple[int, int]]]:
    for block in range(shape.blocks):
        for name, (width_in, width_out) in shape.layers.items():
            stem = f"base_model.model.model.layers.{block}.{name}"
            yield f"{stem}.lora_A.weight", (shape.r, width_in)
            yield f"{stem}.lora_B.weight", (width_out, shape.r)


def _drawn(key: str, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    values = torch.rand(size, generator=generator) * 0.02 - 0.01
    if ".lora_B." in key:
        values *= torch.logspace(0, -1.5, size[1])
    return values.to(torch.bfloat16)
