"""A small world in which the rank of a task is known: a base model, and teachers that differ from it by a planted rank.

The base is a two-layer Llama that has read a language of Markov chains and copies. A teacher is the base with a random
update of exactly rank k in four projections of each layer, the first singular value as large as the weight's own. The
others fall evenly to a half of it, or steeply, as 1/i: the spectra of adapters that people trained are steep.
"""

import copy
from typing import Final, Literal, NamedTuple

import torch
import transformers
from torch.nn import functional

Shape = Literal["even", "steep"]

VOCABULARY: Final = 96
LENGTH: Final = 24  # tokens in a sequence
TARGETS: Final = ("q_proj", "v_proj", "up_proj", "down_proj")
PRETRAINING: Final = 500  # steps
BATCH: Final = 32  # sequences
HELD_OUT: Final = 512
_SUCCESSORS: Final = 6  # tokens that may follow one


class World(NamedTuple):
    """The base model, how its language goes on after each token (VOCABULARY, _SUCCESSORS), and held-out sequences."""

    base: transformers.PreTrainedModel
    language: torch.Tensor
    held_out: torch.Tensor


def make(seed: int, *, pretraining: int = PRETRAINING) -> World:
    """The world of a seed; the same on every machine but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    language = torch.randint(VOCABULARY, (VOCABULARY, _SUCCESSORS), generator=generator)
    torch.manual_seed(seed)
    base = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    optimizer = torch.optim.AdamW(base.parameters(), lr=3e-3)
    for _ in range(pretraining):
        words = read(language, BATCH, generator)
        loss = base(input_ids=words, labels=words).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return World(base, language, read(language, HELD_OUT, generator))


def read(language: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Sequences (count, LENGTH): Markov chains, every other one with a second half that repeats the first."""
    words = torch.empty(count, LENGTH, dtype=torch.long)
    words[:, 0] = torch.randint(VOCABULARY, (count,), generator=generator)
    for place in range(1, LENGTH):
        chosen = torch.randint(_SUCCESSORS, (count,), generator=generator)
        words[:, place] = language[words[:, place - 1], chosen]
    words[::2, LENGTH // 2 :] = words[::2, : LENGTH // 2]
    return words


def teacher(world: World, k: int, shape: Shape, seed: int) -> transformers.PreTrainedModel:
    """The base with an update of rank `k` in each target."""
    falling = torch.linspace(1.0, 0.5, k) if shape == "even" else 1.0 / torch.arange(1, k + 1)
    generator = torch.Generator().manual_seed(1000 + seed)
    model = copy.deepcopy(world.base)
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in TARGETS:
            weight = module.weight.data
            left, right = (torch.linalg.qr(torch.randn(n, k, generator=generator)).Q for n in weight.shape)
            sigma = falling * torch.linalg.matrix_norm(weight, 2)
            weight += (left * sigma) @ right.T
    return model


@torch.no_grad()
def log_probabilities(model: torch.nn.Module, words: torch.Tensor) -> torch.Tensor:
    """What the model expects after each token: (sequences, LENGTH, VOCABULARY)."""
    return functional.log_softmax(model(input_ids=words).logits, -1)


def divergence(wanted: torch.Tensor, model: torch.nn.Module, words: torch.Tensor) -> torch.Tensor:
    """The Kullback-Leibler divergence from the wanted distributions for each sequence, in nat per token."""
    found = log_probabilities(model, words)
    return (wanted.exp() * (wanted - found)).sum(-1).mean(-1)
