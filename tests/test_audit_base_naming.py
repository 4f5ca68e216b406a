"""Module paths and the weights that belong to them."""

from typing import Any

import pytest

from gradience.audit.base.naming import match

Q = "layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("module", "stored"),
    [
        (f"model.{Q}", f"model.{Q}"),
        (f"model.{Q}", Q),  # saved from AutoModel
        (Q, f"model.{Q}"),  # the adapter was trained on AutoModel
        ("transformer.h.0.attn.c_attn", "h.0.attn.c_attn"),
        ("bert.encoder.layer.0.output.dense", "encoder.layer.0.output.dense"),
        (f"model.language_model.{Q}", f"language_model.model.{Q}"),  # LLaVA's checkpoint
        (f"model.language_model.{Q}", f"model.{Q}"),  # Qwen2-VL's checkpoint
        ("model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"),
    ],
)
def test_one_leading_part_may_differ(module: str, stored: str) -> None:
    """As it does between classes of one model."""
    assert match([module], {stored, "other.norm"}, {}) == {module: stored}


def test_the_same_path_wins() -> None:
    """Whatever else is near."""
    assert match([Q], {Q, f"model.{Q}"}, {}) == {Q: Q}


@pytest.mark.parametrize(
    "weights",
    [
        {f"encoder.{Q}", f"decoder.{Q}"},  # two towers
        {"q_proj"},  # more than one part differs
        {"model.layers.10.self_attn.q_proj"},
        set(),
    ],
)
def test_nothing_is_guessed(weights: set[str]) -> None:
    """No weight, or more than one, is none."""
    assert match([Q], weights, {}) == {}


def test_two_modules_that_could_mean_one_weight_have_none() -> None:
    """A text model given for one with two towers: both lose their first part, and one of them is wrong."""
    assert match([f"vision.{Q}", f"text.{Q}"], {Q}, {}) == {}
    assert match([Q, f"vision.{Q}"], {Q}, {}) == {Q: Q}


@pytest.mark.parametrize(
    ("config", "is_tied"),
    [
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False, "architectures": ["LlamaForCausalLM"]}, False),
        ({"architectures": ["GemmaForCausalLM"]}, True),
        ({"architectures": ["GemmaModel"]}, False),
        ({}, False),
    ],
)
def test_a_tied_head_is_the_embedding(config: dict[str, Any], is_tied: bool) -> None:
    """Where the config says so; or where a model was saved with its head, and no weight of one is there."""
    expected = {"lm_head": "model.embed_tokens"} if is_tied else {}
    assert match(["lm_head"], {"model.embed_tokens", f"model.{Q}"}, config) == expected


def test_a_head_with_a_weight_is_not_tied() -> None:
    """The checkpoint has it, under whatever path: then the embedding is another matrix."""
    tied = {"tie_word_embeddings": True}
    assert match(["lm_head"], {"lm_head", "model.embed_tokens"}, tied) == {"lm_head": "lm_head"}
    assert match(["lm_head"], {"a.b.lm_head", "model.embed_tokens"}, tied) == {}
