"""The one table that tells a module's type and its layer from its path.

Paths are read from the leaf upwards: the nearest telling part decides, so that `h.7.mlp.c_proj` is mlp and
`attention.output.dense` is attn. An input or output embedding (`lm_head` too: many models tie the two) is `embedding`.
"""

import re
from itertools import pairwise

ATTN, MLP, EMBEDDING, OTHER = TYPES = ("attn", "mlp", "embedding", "other")

_EMBEDDING = re.compile(
    r"(?:wte|wpe|shared|lm_head|embed_(?:tokens|positions|in|out)|(?:(?:word|position|token_type|tok)_)?embeddings?)$"
)
_ATTN_PART = re.compile(r"attn|attention")
_MLP_PART = re.compile(
    r"mlp|ffn|feed_?forward|densereludense|expert|moe$|^(?:ff|ff_context|intermediate|fc_?(?:1|2|in|out)|c_fc|w[123])$"
    r"|^(?:gate|up|down|gate_up)_proj$|^dense_(?:h_to_4h|4h_to_h)$|^lin[12]$|^wi(?:_[01])?$"
)
_ATTN_LEAF = re.compile(
    r"^(?:[qkvo]_proj|qkv(?:_proj)?|wqkv|w[qkvo]|out_lin|[qkv]_lin|query|key|value|query_key_value"
    r"|q_[ab]_proj|kv_[ab]_proj(?:_with_mqa)?|to_(?:q|k|v|qkv|out)|add_[qkv]_proj|in_proj_qkvz?)$"
)
_NUMBERS = re.compile(r"(?:\.[0-9]+|\[[0-9]+\])+$")  # of a plain sequence, or of an expert
_STACK = re.compile(r"(?:^|_)(?:h|layers?|(?:res)?blocks?)$")


def module_type(name: str) -> str:
    """One of `TYPES` for a module path."""
    parts = name.lower().split(".")
    if _EMBEDDING.match(parts[-1]):
        return EMBEDDING
    for part in reversed(parts):
        if _ATTN_PART.search(part):
            return ATTN
        if _MLP_PART.search(part):
            return MLP
    if _ATTN_LEAF.match(parts[-1]):
        return ATTN
    return MLP if parts[-2:] == ["output", "dense"] else OTHER  # BERT's second half of the feed-forward block


def layer_index(name: str) -> int | None:
    """The number of the outermost layer or block on the path; None outside of any.

    In `encoder.block.5.layer.0.SelfAttention.q` (T5) it is 5: the inner number counts sub-layers. Numbers of experts
    or of a plain sequence are no layers. An encoder and a decoder, or a vision and a text tower, each count from 0.
    """
    path = layer_path(name)
    return None if path is None else int(path.rpartition(".")[2])


def layer_path(name: str) -> str | None:
    """The path of that layer, `encoder.block.5`: unlike its number, no other layer of the model has it."""
    parts = name.split(".")
    for place, (stack, number) in enumerate(pairwise(parts), 2):
        if number.isdecimal() and number.isascii() and _STACK.search(stack):
            return ".".join(parts[:place]) if len(number) < 10 else None
    return None


def target(name: str) -> str:
    """What a config's `target_modules` would call the module: the last part of its path that is no number."""
    return _NUMBERS.sub("", name).rpartition(".")[2]
