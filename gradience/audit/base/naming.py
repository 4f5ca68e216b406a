"""Which weight of a base model belongs to a module of an adapter, by name alone; pure.

A checkpoint saved from another class of the same model differs from the module's path by one leading part
(`model.layers.0...` and `layers.0...`). Where more than one weight could be meant, or two modules could mean one
weight, none is taken: a wrong weight would give a wrong number.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

_HEAD: Final = "lm_head"
_EMBEDDINGS: Final = ("embed_tokens", "wte", "embed_in", "word_embeddings", "shared")
_WITH_HEAD: Final = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_TOWERS: Final = (  # modules of multimodal models since transformers 4.52, and how checkpoints keep calling them
    ("model.language_model.", ("language_model.model.", "model.")),
)


def match(modules: Iterable[str], weights: Collection[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Path of the weight for each module path that has exactly one; `weights` are paths, too."""
    below = _below(weights)
    found: dict[str, str] = {}
    edited: dict[str, str] = {}
    for module in modules:
        if module in weights:
            found[module] = module
        elif len(near := _near(module, weights, below)) == 1:
            edited[module] = near.pop()
        elif module.rpartition(".")[2] == _HEAD and (tied := _tied(weights, config)):
            found[module] = tied
    claims = Counter([*found.values(), *edited.values()])
    return found | {module: path for module, path in edited.items() if claims[path] == 1}


def _below(weights: Iterable[str]) -> dict[str, list[str]]:
    """The weights by their paths without the first part."""
    found: dict[str, list[str]] = {}
    for path in weights:
        found.setdefault(path.partition(".")[2], []).append(path)
    return found


def _near(module: str, weights: Collection[str], below: Mapping[str, list[str]]) -> set[str]:
    """The weights whose path is the module's but for one leading part."""
    names = {module.partition(".")[2], *below.get(module, ())}
    for tower, stored in _TOWERS:
        if module.startswith(tower):
            names.update(f"{name}{module.removeprefix(tower)}" for name in stored)
    return {name for name in names if name in weights}


def _tied(weights: Collection[str], config: Mapping[str, Any]) -> str | None:
    """The input embedding, where it is the output's weight too: safetensors keeps a shared tensor once."""
    said, classes = config.get("tie_word_embeddings"), config.get("architectures")
    if said is None:  # the class decides; a model that was saved with its head, yet without a weight for it, is tied
        said = isinstance(classes, list) and any(str(name).endswith(_WITH_HEAD) for name in classes)
    has_head = any(path.rpartition(".")[2] == _HEAD for path in weights)
    found = [path for path in weights if path.rpartition(".")[2] in _EMBEDDINGS]
    return found[0] if said is True and not has_head and len(found) == 1 else None
