"""The keys of a weights file, sorted out."""

from pathlib import Path

import pytest

from gradience.audit import keys
from gradience.audit.keys import Keys
from gradience.audit.safetensors_file import Tensor
from gradience.errors import AdapterError

PAIR = ["base_model.model.m.q.lora_A.weight", "base_model.model.m.q.lora_B.weight"]


def sort(*names: str) -> Keys:
    """Sort tensors of these names."""
    return keys.sort(
        Path("a.safetensors"), {name: Tensor(name, "F32", (1, 1), 0, 4, Path("a.safetensors")) for name in names}
    )


def test_a_pair_is_named_by_its_path_in_the_base_model() -> None:
    """PEFT's wrapper is no part of the name."""
    found = sort(*PAIR)
    assert list(found.pairs) == ["m.q"]
    assert (found.pairs["m.q"].a.key, found.pairs["m.q"].b.key) == tuple(PAIR)
    assert found.prefixed


def test_the_adapters_name_may_stand_in_the_keys() -> None:
    """`torch.save(model.state_dict())` writes it."""
    found = sort(*(key.replace(".weight", ".default.weight") for key in PAIR))
    assert (list(found.pairs), found.adapter) == (["m.q"], "default")


def test_keys_without_the_prefix_are_pairs_too() -> None:
    """Some writers leave it out."""
    found = sort("m.q.lora_A.weight", "m.q.lora_B.weight")
    assert (list(found.pairs), found.prefixed) == (["m.q"], False)


def test_what_is_no_factor_is_listed() -> None:
    """Biases of lora_B, token rows, and tensors that were trained whole."""
    bias, rows, head = (
        "base_model.model.m.q.lora_B.bias",
        "base_model.model.e.token_adapter.trainable_tokens_delta",
        "h.weight",
    )
    found = sort(*PAIR, bias, rows, head)
    assert (found.lora_biases, found.token_rows, found.full) == ((bias,), (rows,), (head,))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("m.q.lora_magnitude_vector", "DoRA"),
        ("m.q.lora_magnitude_vector.default.weight", "DoRA"),
        ("m.e.lora_embedding_A", "embedding"),
        ("m.q.lora_E", "AdaLoRA"),
        ("m.q.lora_diag", "KaSA"),
        ("m.q.lora_velora_embed", "variant"),
        ("m.q.lora_future", "does not have"),
        ("lora_unet_x.lora_down.weight", "kohya"),
        ("m.q.lora_a.weight", "mlx-lm or torchtune"),
        ("m.q.hada_w1_a", "not LoRA"),
        ("base_model.model.attn.base_layer.out_proj.lora_A.weight", "MultiheadAttention"),
        ("base_model.model.mlp.experts.base_layer.lora_A.weight", "expert"),
        ("base_model.model.mlp.experts.lora_A.weight", "expert"),
        ("base_model.model.m.k.lora_A.weight", "lora_A without lora_B in 1 of 2 modules \\('m.k'\\)"),
        ("base_model.model.m.k.lora_B.weight", "lora_B without lora_A"),
        ("base_model.model.m.q.lora_A.other.weight", "2 adapters"),
        ("m.k.lora_A.weight", "only some"),
    ],
)
def test_what_is_not_a_plain_pair_is_refused_by_name(extra: str, says: str) -> None:
    """Recognised by its keys, whatever the config says."""
    with pytest.raises(AdapterError, match=says):
        sort(*PAIR, extra)


def test_a_file_without_factors_is_refused() -> None:
    """A full model's weights under an adapter's name."""
    with pytest.raises(AdapterError, match="no lora_A and lora_B"):
        sort("model.embed_tokens.weight")
