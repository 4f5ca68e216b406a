"""A student: a real PEFT adapter on the base model, trained to do as the teacher does, and cut to lower ranks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import peft
import torch
from torch.nn import functional

from tests.benchmarks.rank_advice import world
from tests.benchmarks.rank_advice.world import World

Labels = Literal["clean", "noisy", "senseless"]

STEPS: Final = 400
LEARNING_RATE: Final = 5e-3
EVAL_EVERY: Final = 100  # steps
WATCHED: Final = 128  # held-out sequences of these evaluations


def fresh(base: torch.nn.Module, r: int, seed: int) -> peft.PeftModel:
    """The base with an untrained adapter of rank `r` and scale 2."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=r, lora_alpha=2 * r, target_modules=list(world.TARGETS), task_type="CAUSAL_LM")
    model: peft.PeftModel = peft.get_peft_model(base, config)
    return model


def train(model: peft.PeftModel, teacher: torch.nn.Module, there: World, labels: Labels, seed: int) -> dict[int, float]:
    """AdamW with a cosine schedule; the divergence from the teacher on held-out text, at a few steps from the first on.

    Clean labels are the teacher's distributions, noisy ones tokens drawn from them, senseless ones any tokens.
    """
    held_out = there.held_out[:WATCHED]
    aim, seen = world.log_probabilities(teacher, held_out), {}
    generator = torch.Generator().manual_seed(2000 + seed)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS + 1):
        if step % EVAL_EVERY == 0:
            seen[step] = world.divergence(aim, model, held_out).mean().item()
        words = world.read(there.language, world.BATCH, generator)
        wanted = world.log_probabilities(teacher, words).exp().flatten(0, 1)
        if labels == "noisy":
            wanted = torch.multinomial(wanted, 1, generator=generator)[:, 0]
        elif labels == "senseless":
            wanted = torch.randint(world.VOCABULARY, wanted.shape[:1], generator=generator)
        loss = functional.cross_entropy(model(input_ids=words).logits.flatten(0, 1), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return seen


def scramble(model: peft.PeftModel, seed: int) -> None:
    """Random factors in place of trained ones."""
    generator = torch.Generator().manual_seed(3000 + seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


@contextmanager
def cut(model: peft.PeftModel, ranks: Mapping[str, int]) -> Iterator[None]:
    """The best approximation of each module's update of the rank that `ranks` has for its path (dense SVD)."""
    kept = {name: (a.data, b.data) for name, a, b in _factors(model)}
    for name, a, b in _factors(model):
        left, sigma, right = torch.linalg.svd((b.data @ a.data).double(), full_matrices=False)
        k, r = ranks[name], len(a.data)
        a.data = functional.pad(right[:k], (0, 0, 0, r - k)).float()
        b.data = functional.pad(left[:, :k] * sigma[:k], (0, r - k)).float()
    try:
        yield
    finally:
        for name, a, b in _factors(model):
            a.data, b.data = kept[name]


def names(model: peft.PeftModel) -> list[str]:
    """The paths of the adapted modules, as an audit names them."""
    return [name for name, _, _ in _factors(model)]


def _factors(model: peft.PeftModel) -> Iterator[tuple[str, Any, Any]]:
    for name, module in model.named_modules():
        if isinstance(module, peft.tuners.lora.Linear):
            yield (
                name.removeprefix("base_model.model."),
                module.lora_A["default"].weight,
                module.lora_B["default"].weight,
            )
