"""Module types and layer numbers from paths of real models."""

import pytest

from gradience.audit import layers

CASES = [
    ("model.layers.3.self_attn.q_proj", "attn", 3),
    ("model.layers.3.mlp.gate_up_proj", "mlp", 3),
    ("model.layers.31.mlp.down_proj", "mlp", 31),
    ("layers.3.self_attn.qkv_proj", "attn", 3),
    ("transformer.h.7.attn.c_attn", "attn", 7),
    ("transformer.h.7.attn.c_proj", "attn", 7),
    ("transformer.h.7.mlp.c_proj", "mlp", 7),
    ("transformer.h.7.mlp.c_fc", "mlp", 7),
    ("bert.encoder.layer.4.attention.self.query", "attn", 4),
    ("bert.encoder.layer.4.attention.output.dense", "attn", 4),
    ("bert.encoder.layer.4.intermediate.dense", "mlp", 4),
    ("bert.encoder.layer.4.output.dense", "mlp", 4),
    ("bert.pooler.dense", "other", None),
    ("distilbert.transformer.layer.1.attention.q_lin", "attn", 1),
    ("distilbert.transformer.layer.1.ffn.lin1", "mlp", 1),
    ("encoder.block.5.layer.0.SelfAttention.q", "attn", 5),
    ("decoder.block.5.layer.1.EncDecAttention.o", "attn", 5),
    ("decoder.block.5.layer.2.DenseReluDense.wi_0", "mlp", 5),
    ("transformer.h.2.self_attention.query_key_value", "attn", 2),
    ("transformer.h.2.self_attention.dense", "attn", 2),
    ("transformer.h.2.mlp.dense_h_to_4h", "mlp", 2),
    ("gpt_neox.layers.2.attention.query_key_value", "attn", 2),
    ("gpt_neox.layers.2.attention.dense", "attn", 2),
    ("model.layers.3.block_sparse_moe.experts.7.w1", "mlp", 3),
    ("model.layers.3.block_sparse_moe.gate", "mlp", 3),
    ("model.layers.0.self_attn.kv_a_proj_with_mqa", "attn", 0),
    ("model.layers.0.self_attn.dense", "attn", 0),
    ("model.layers.0.mlp.fc1", "mlp", 0),
    ("model.decoder.layers.11.fc2", "mlp", 11),
    ("vit.encoder.layer.3.attention.attention.query", "attn", 3),
    ("vit.encoder.layer.3.output.dense", "mlp", 3),
    ("visual.blocks.3.attn.qkv", "attn", 3),
    ("visual.merger.mlp.0", "mlp", None),
    ("transformer_blocks.0.attn1.to_q", "attn", 0),
    ("transformer_blocks.0.attn1.to_out.0", "attn", 0),
    ("transformer_blocks.0.ff.net.0.proj", "mlp", 0),
    ("single_transformer_blocks.9.proj_mlp", "mlp", 9),
    ("backbone.layers.3.mixer.in_proj", "other", 3),
    ("lm_head", "embedding", None),
    ("model.embed_tokens", "embedding", None),
    ("transformer.wte", "embedding", None),
    ("score", "other", None),
    ("classifier.0", "other", None),
]


@pytest.mark.parametrize(("name", "kind", "layer"), CASES)
def test_the_table_is_right_for_real_models(name: str, kind: str, layer: int | None) -> None:
    """The nearest telling part of a path gives the type, the outermost stack gives the layer."""
    assert (layers.module_type(name), layers.layer_index(name)) == (kind, layer)


@pytest.mark.parametrize(
    ("name", "path", "target"),
    [
        ("model.layers.10.self_attn.q_proj", "model.layers.10", "q_proj"),
        ("encoder.block.5.layer.0.SelfAttention.q", "encoder.block.5", "q"),
        ("transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0", "to_out"),
        ("visual.merger.mlp.0", None, "mlp"),
        ("model.layers.3.mlp.experts.7.w1", "model.layers.3", "w1"),
        ("model.layers.3.mlp.experts.gate_up_proj.7", "model.layers.3", "gate_up_proj"),
        ("lm_head", None, "lm_head"),
        ("0", None, "0"),
        ("layers.12345678901.q", None, "q"),
    ],
)
def test_a_path_tells_its_layer_and_its_target(name: str, path: str | None, target: str) -> None:
    """The whole path of the layer, since numbers repeat in other towers; the last part that is no number."""
    assert (layers.layer_path(name), layers.target(name)) == (path, target)
