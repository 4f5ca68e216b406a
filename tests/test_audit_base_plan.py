"""Directories of base models: what is taken from them, what is refused, and what is told to be quantised."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gradience.audit.base import plan, shards
from gradience.audit.disk.module import Module, Product
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.errors import InputError

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"


def module(name: str, outputs: int = 8, inputs: int = 6) -> Module:
    """A linear layer's, of rank 2."""
    a, b = (Tensor("", "F32", shape, offset=0, nbytes=0, file=Path()) for shape in ((2, inputs), (outputs, 2)))
    return Module(name=name, r=2, alpha=2, scale=1, products=(Product(a=a, b=b),))


def saved(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """A model of one file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def codes(made: plan.Plan) -> list[str]:
    """Of the issues."""
    return [issue.partition(":")[0] for issue in made.issues]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_each_module_gets_its_weight(tmp_path: Path, dtype: torch.dtype) -> None:
    """By name, in any plain floating dtype, and transposed too, as Conv1D stores it."""
    saved(tmp_path, {f"{Q}.weight": torch.ones(8, 6, dtype=dtype), f"{UP}.weight": torch.ones(6, 8, dtype=dtype)})
    made = plan.make(tmp_path, [module(Q), module(UP)])
    assert {name: weight.key for name, weight in made.weights.items()} == {Q: f"{Q}.weight", UP: f"{UP}.weight"}
    assert made.issues == ()


@pytest.mark.parametrize("shape", [(8, 7), (48,), (8, 2, 2), ()])
def test_a_weight_of_another_shape_is_not_the_modules(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """It is listed in one issue with those that have none at all."""
    saved(tmp_path, {f"{Q}.weight": torch.ones(shape)})
    made = plan.make(tmp_path, [module(Q), module(UP)])
    assert (made.weights, codes(made)) == ({}, ["base_unmatched"])
    assert f"(2, first '{Q}')" in made.issues[0]


def test_a_convolution_is_flattened(tmp_path: Path) -> None:
    """As its adapter is: out channels, and everything else."""
    saved(tmp_path, {"conv.weight": torch.ones(8, 3, 2, 1)})
    assert list(plan.make(tmp_path, [module("conv")]).weights) == ["conv"]


def test_an_expert_is_a_slice_of_a_stacked_parameter(tmp_path: Path) -> None:
    """Its own bytes only, under its own name; one that is not in the stack has none."""
    saved(tmp_path, {"experts.up": torch.arange(3 * 48, dtype=torch.float32).view(3, 8, 6)})
    made = plan.make(tmp_path, [module(f"experts.up[{number}]") for number in (0, 2, 3, 10**12)])
    (first, second), whole = made.weights.values(), shards.load(tmp_path).tensors["experts.up"]
    assert [(one.key, one.shape, one.nbytes) for one in (first, second)] == [
        ("experts.up[0]", (8, 6), 192),
        ("experts.up[2]", (8, 6), 192),
    ]
    assert (first.offset, second.offset) == (whole.offset, whole.offset + 384)
    assert codes(made) == ["base_unmatched"]


@pytest.mark.parametrize("key", ["attn.in_proj_weight", "attn"])
def test_what_is_not_called_weight_is_found(tmp_path: Path, key: str) -> None:
    """The fused projection of MultiheadAttention, and bare parameters."""
    saved(tmp_path, {key: torch.ones(8, 6)})
    assert plan.make(tmp_path, [module("attn")]).weights["attn"].key == key


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({f"{Q}.weight": torch.ones(8, 6)}, {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ({f"{Q}.weight": torch.ones(8, 6)}, {"text_config": {"quantization_config": {"quant_method": "awq"}}}),
        ({f"{Q}.weight": torch.ones(8, 6)}, {"compression_config": {"format": "float-quantized"}}),
        ({f"{Q}.qweight": torch.ones(1, 6, dtype=torch.int32)}, {}),
        ({f"{Q}.weight_packed": torch.ones(1, 6, dtype=torch.int32)}, {}),
        ({f"{Q}.weight": torch.ones(48, 1, dtype=torch.uint8)}, {}),
        ({f"{Q}.weight": torch.ones(8, 6, dtype=torch.int8), f"{Q}.SCB": torch.ones(8)}, {}),
        ({f"{Q}.weight": torch.ones(8, 6).to(torch.float8_e4m3fn)}, {}),
        ({f"{Q}.weight": torch.ones(8, 6, dtype=torch.bfloat16), f"{Q}.weight_scale_inv": torch.ones(1, 1)}, {}),
    ],
)
def test_quantised_weights_have_no_norms(
    tmp_path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]
) -> None:
    """By the config, by names, by dtype, by what lies beside: the reason is an issue, and nothing is measured."""
    made = plan.make(saved(tmp_path, tensors, **config), [module(Q)])
    assert (made.weights, codes(made)) == ({}, ["base_quantised"])


def sharded(folder: Path, places: dict[str, str]) -> Path:
    """A model of two shards whose index says `places`."""
    folder.mkdir(exist_ok=True)
    save_file({f"{Q}.weight": torch.ones(8, 6)}, folder / "model-1.safetensors")
    save_file({f"{UP}.weight": torch.ones(8, 6)}, folder / "model-2.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_shards_are_one_model(tmp_path: Path) -> None:
    """Through their index; the config may be missing."""
    folder = sharded(tmp_path, {f"{Q}.weight": "model-1.safetensors", f"{UP}.weight": "model-2.safetensors"})
    made = plan.make(folder, [module(Q), module(UP)])
    assert [weight.file.name for weight in made.weights.values()] == ["model-1.safetensors", "model-2.safetensors"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({f"{Q}.weight": "model-3.safetensors"}, "1 of 1 shards are missing"),
        ({f"{Q}.weight": "model-2.safetensors"}, "no shard has"),
        ({f"{Q}.weight": "../model-1.safetensors"}, "outside the directory"),
        ({f"{Q}.weight": "/etc/passwd"}, "outside the directory"),
        ([], "no index of shards"),
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, places: Any, message: str) -> None:
    """In one line that names the model."""
    with pytest.raises(InputError, match=message) as raised:
        shards.load(sharded(tmp_path, places))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"short", "truncated"),
        ("pytorch_model.bin", b"", "not safetensors"),
        ("config.json", b"{}", "no model.safetensors"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """With what is there instead."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        shards.load(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"{", "not JSON"), (b'"' * 10, "not JSON")])
def test_a_broken_config_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """It could have said that the model is quantised."""
    saved(tmp_path, {f"{Q}.weight": torch.ones(8, 6)})
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        shards.load(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Without a look at any network."""
    with pytest.raises(InputError, match="no such directory"):
        shards.load(tmp_path / "missing")
