"""One adapter: trained, audited, judged by every rule, and measured at every rank that a rule suggests."""

import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import torch

from gradience.audit import audit, ladder
from gradience.policy import module_ranks
from tests.benchmarks.rank_advice import rules, student, world
from tests.benchmarks.rank_advice.rules import RULES
from tests.benchmarks.rank_advice.student import Labels
from tests.benchmarks.rank_advice.world import Shape

Kind = Literal["starved", "exact", "ample", "senseless", "random"]

LABELS: Final[tuple[Labels, ...]] = ("clean", "noisy")
NOTHING: Final[tuple[Labels | None, ...]] = ("senseless", None)
SHAPES: Final[tuple[Shape, ...]] = ("even", "steep")
PLANTED: Final = (2, 4, 8, 16)
RANKS: Final = (4, 8, 16, 32)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to train: rank `r` where the task has rank `k`. Random factors have no labels."""

    shape: Shape = "even"
    k: int
    r: int
    labels: Labels | None
    seed: int

    @property
    def kind(self) -> Kind:
        """What a rule should make of it: an alarm is right only where it is ample."""
        if self.labels is None or self.labels == "senseless":
            return self.labels or "random"
        return "starved" if self.r < self.k else "exact" if self.r < 2 * self.k else "ample"


class Pooled(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter with a rank for each module, as `gradience compress --per-layer` cuts it."""

    closed: float
    share: float  # of its parameters


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    `closed` is the share of the way from the base to the teacher that the adapter goes on held-out text: 1 less the
    ratio of the divergences from the teacher. `at` has the same after a cut to each rank of the ladder, `suggested`
    what each rule says.
    """

    job: Job
    closed: float
    at: dict[int, float]
    suggested: dict[str, int | None]
    pooled: Pooled

    def lost(self, rule: str) -> float | None:
        """Points of the way that are lost at the rank that a rule suggests."""
        rank = self.suggested[rule]
        return None if rank is None else 100 * (self.closed - self.at[rank])


def jobs(seeds: int) -> Iterator[Job]:
    """The grid: every planted and every trained rank with clean and noisy labels, then what has nothing to find."""
    for seed in range(seeds):
        for labels, shape, k, r in product(LABELS, SHAPES, PLANTED, RANKS):
            yield Job(shape=shape, k=k, r=r, labels=labels, seed=seed)
        for labels_of_nothing, r in product(NOTHING, RANKS[1:]):
            yield Job(k=4, r=r, labels=labels_of_nothing, seed=seed)


def run(job: Job) -> Outcome:
    """Do it: some seconds on one core."""
    torch.set_num_threads(1)
    there = _world(job.seed)
    teacher = world.teacher(there, job.k, job.shape, job.seed)
    model = student.fresh(there.base, job.r, job.seed)
    try:
        if job.labels is None:
            student.scramble(model, job.seed)
            losses: dict[int, float] = {}
        else:
            losses = student.train(model, teacher, there, job.labels, job.seed)
        return _outcome(job, there, teacher, model, losses)
    finally:
        model.unload()


@cache
def _world(seed: int) -> world.World:
    return world.make(seed)


def _outcome(
    job: Job, there: world.World, teacher: torch.nn.Module, model: Any, losses: Mapping[int, float]
) -> Outcome:
    wanted = world.log_probabilities(teacher, there.held_out)
    with model.disable_adapter():
        before = world.divergence(wanted, model, there.held_out).mean().item()

    def closed(ranks: dict[str, int]) -> float:
        with student.cut(model, ranks):
            return 1.0 - world.divergence(wanted, model, there.held_out).mean().item() / before

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        record = audit(Path(folder))
    names = student.names(model)
    at = {rank: closed(dict.fromkeys(names, rank)) for rank in ladder.ranks(job.r)}
    run, each = rules.watched(losses), module_ranks.suggest(record)
    suggested = {name: rule(record, run) for name, rule in RULES.items()}
    cut = closed({row.name: row.suggested_rank for row in each.modules})
    pooled = Pooled(closed=cut, share=each.params_suggested / each.params)
    return Outcome(job=job, closed=at[job.r], at=at, suggested=suggested, pooled=pooled)
