"""Layers that are not linear, against PEFT: embeddings, heads tied to them, convolutions, fused attention."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402
from tests.integrations.peft_adapters import assert_true, layers, llama, saved, seeded, updates  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's and transformers' own

Make = Callable[[], Any]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with seeded():
        yield


def codes(folder: Path) -> list[str]:
    """The codes of the issues."""
    return [issue.split(":")[0] for issue in audit(folder).issues]


def test_an_embeddings_copy_of_the_base_does_not_count(tmp_path: Path) -> None:
    """PEFT saves the embedding's own weight beside the factors; only the factors are the update."""
    folder = saved(llama(), tmp_path, peft.LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"]))
    record = audit(folder)
    assert_true(record, updates(llama(), folder))
    assert {module.name: module.kind for module in record.modules}["model.embed_tokens"] == "embedding"
    assert codes(folder) == []


@pytest.mark.parametrize("safe", [True, False])
def test_a_tied_head_is_measured_and_its_parameters_counted_once(tmp_path: Path, safe: bool) -> None:
    """It has the embedding's factors, transposed: in a .bin they are views of those."""
    model = llama(tie_word_embeddings=True)
    config = peft.LoraConfig(r=4, target_modules=["embed_tokens"], ensure_weight_tying=True)
    folder = saved(model, tmp_path, config, safe_serialization=safe)
    record = audit(folder)
    assert_true(record, updates(llama(tie_word_embeddings=True), folder))
    assert {module.name: module.params for module in record.modules} == {
        "lm_head": 0,
        "model.embed_tokens": 4 * (64 + 32),
    }
    assert record.summary.total_lora_params == 4 * (64 + 32)
    assert codes(folder) == ["tied"]


@pytest.mark.parametrize(
    "layer",
    [torch.nn.Conv1d(4, 6, 3), torch.nn.Conv2d(4, 6, (3, 2)), torch.nn.Conv3d(4, 6, 2)],
    ids=["Conv1d", "Conv2d", "Conv3d"],
)
def test_a_convolution_is_flattened(tmp_path: Path, layer: torch.nn.Module) -> None:
    """Out channels by in channels times kernel, and the audit says so."""
    make = layers(conv=layer, head=torch.nn.Linear(4, 4))
    folder = saved(make(), tmp_path, peft.LoraConfig(r=3, target_modules=["conv", "head"]))
    record = audit(folder)
    assert_true(record, updates(make(), folder))
    assert [module.kind for module in record.modules] == ["conv", "linear"]
    assert codes(folder) == ["conv"]


def test_a_grouped_convolution_is_refused(tmp_path: Path) -> None:
    """Its update is block by block, which no product of the two factors is."""
    model = layers(conv=torch.nn.Conv2d(4, 6, 3, groups=2))()
    folder = saved(model, tmp_path, peft.LoraConfig(r=4, target_modules=["conv"]))
    with pytest.raises(AdapterError, match=r"'conv' has .*grouped convolution"):
        audit(folder)


def test_fused_attention_has_two_modules(tmp_path: Path) -> None:
    """The input projections as one, and the output projection, which shares its owner's rank and alpha."""
    make = layers(attn=torch.nn.MultiheadAttention(8, 2))
    config = peft.LoraConfig(r=3, target_modules=["attn"], rank_pattern={"attn": 2}, alpha_pattern={"attn": 5})
    folder = saved(make(), tmp_path, config)
    record = audit(folder)
    assert_true(record, updates(make(), folder))
    assert {module.name: module.kind for module in record.modules} == {
        "attn": "attention",
        "attn.out_proj": "attention",
    }
