"""The keys of a weights file, sorted out."""

from pathlib import Path

import pytest

from gradience.audit.disk import keys
from gradience.audit.disk.keys import Form, Keys
from gradience.audit.tensors.safetensors_file import Tensor
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


def test_each_form_of_a_pair_is_told_apart() -> None:
    """Embeddings and AdaLoRA store bare parameters."""
    found = sort(*PAIR, "base_model.model.m.e.lora_embedding_A", "base_model.model.m.e.lora_embedding_B")
    assert [(name, pair.form) for name, pair in found.pairs.items()] == [("m.q", Form.WEIGHT), ("m.e", Form.EMBEDDING)]
    (pair,) = sort(*(f"base_model.model.m.q.lora_{side}" for side in "ABE")).pairs.values()
    assert (pair.form, pair.e is not None) == (Form.SVD, True)


@pytest.mark.parametrize(
    "key", ["m.q.lora_velora_embed", "m.q.lora_monteclora_sampler.std_prior", "m.q.ranknum.default"]
)
def test_what_only_training_needs_is_passed_over(key: str) -> None:
    """Neither factors nor tensors that were trained whole."""
    assert sort(*PAIR, f"base_model.model.{key}").full == ()


@pytest.mark.parametrize("end", ["", ".weight", ".default.weight"])
def test_magnitudes_are_listed_by_module(end: str) -> None:
    """In the spellings of PEFT, torchtune and a state dict."""
    assert sort(*PAIR, f"base_model.model.m.q.lora_magnitude_vector{end}").magnitudes == {"m.q"}


@pytest.mark.parametrize("end", ["weight", "bias", "base_layer.bias", "base_layer.weight.absmax"])
def test_what_an_adapted_layer_has_itself_is_a_tensor_stored_whole(end: str) -> None:
    """A state dict has all of it."""
    key = f"base_model.model.m.q.{end}"
    assert sort(*PAIR, key).full == (key,)


def test_the_copy_of_an_adapted_weight_is_no_trained_tensor() -> None:
    """PEFT saves it beside the factors of embeddings and heads."""
    assert sort(*PAIR, "base_model.model.m.q.base_layer.weight").full == ()


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
        ("base_model.model.m.e.lora_embedding_A", "lora_embedding_A without lora_embedding_B"),
        ("base_model.model.m.q.lora_E", "two forms"),
        ("base_model.model.m.k.lora_E", "lora_E without lora_A and lora_B"),
        ("m.q.lora_diag", "KaSA"),
        ("m.q.lora_router.weight", "router"),
        ("m.q.lora_future", "does not have"),
        ("base_model.model.m.q.future_scale", "does not have"),
        ("base_model.model.m.q.future.0", "does not have"),
        ("lora_unet_x.lora_down.weight", "kohya"),
        ("m.q.lora_a.weight", "mlx-lm or torchtune"),
        ("m.q.hada_w1_a", "not LoRA"),
        ("base_model.model.m.k.lora_A.weight", "lora_A without lora_B in 1 of 2 modules \\('m.k'\\)"),
        ("base_model.model.m.k.lora_B.weight", "lora_B without lora_A"),
        ("base_model.model.m.q.lora_A.other.weight", "2 adapters"),
        ("m.k.lora_A.weight", "only some"),
    ],
)
def test_what_is_not_a_pair_is_refused_by_name(extra: str, says: str) -> None:
    """Recognised by its keys, whatever the config says."""
    with pytest.raises(AdapterError, match=says):
        sort(*PAIR, extra)


def test_a_file_without_factors_is_refused() -> None:
    """A full model's weights under an adapter's name."""
    with pytest.raises(AdapterError, match="no lora_A and lora_B"):
        sort("model.embed_tokens.weight")
