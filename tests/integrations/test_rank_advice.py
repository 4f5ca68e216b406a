"""The benchmark of rank advice: its rules by hand, its cut against PEFT, and its tables in the docs."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from gradience.policy.audit_rules import Run
from tests.benchmarks.rank_advice import __main__ as benchmark
from tests.benchmarks.rank_advice import rules, scoring, student, world
from tests.benchmarks.rank_advice.experiment import Job, Kind, Outcome, Pooled, jobs
from tests.conftest import MakeRecord

DOCS = Path(__file__).parents[2] / "docs" / "rank-advice.md"


@pytest.mark.parametrize(
    ("rule", "rank"),
    [
        ("utilization < 0.25", 2),
        ("median k@90", 2),
        ("mean 95 %", 4),
        ("knee", 4),
        ("Gavish-Donoho", 4),
        ("sigma > first / 10", None),
        ("Gradience", 4),
    ],
)
def test_a_rule_gives_the_rank_that_its_formula_says(make_record: MakeRecord, rule: str, rank: int | None) -> None:
    """Energies 64, 25, 4, 1 then next to nothing, of rank 16; with a tail above a tenth of the first for one rule."""
    values = [8.0, 5.0, 2.0, 1.0, *[0.05] * 12]
    tail = [8.0, 5.0, 2.0, 1.0, *[0.9] * 8, *[0.05] * 4]
    record = make_record({"layers.0.q_proj": tail if rule == "sigma > first / 10" else values})
    assert rank == rules.RULES[rule](record, Run())


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (Job(k=8, r=4, labels="clean", seed=0), "starved"),
        (Job(k=8, r=8, labels="noisy", seed=0), "exact"),
        (Job(k=8, r=16, labels="noisy", seed=0), "ample"),
        (Job(k=4, r=16, labels="senseless", seed=0), "senseless"),
        (Job(k=4, r=16, labels=None, seed=0), "random"),
    ],
)
def test_only_an_ample_rank_deserves_an_alarm(job: Job, kind: Kind) -> None:
    """Ample is at least twice the planted rank; what learned nothing deserves none."""
    assert kind == job.kind


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks transformers by the old name
def test_a_cut_is_the_best_approximation_and_is_undone() -> None:
    """Each update is its dense SVD cut to the rank; afterwards the factors are the very ones from before."""
    there = world.make(0, pretraining=1)
    model = student.fresh(copy.deepcopy(there.base), 8, 0)
    student.scramble(model, 0)
    module: Any = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
    before = module.get_delta_weight("default").detach()
    with student.cut(model, dict.fromkeys(student.names(model), 3)):
        found = module.get_delta_weight("default").detach()
    left, sigma, right = torch.linalg.svd(before)
    torch.testing.assert_close(found, left[:, :3] * sigma[:3] @ right[:3], rtol=1e-4, atol=1e-5)
    assert torch.equal(before, module.get_delta_weight("default").detach())


def test_the_grid_is_whole() -> None:
    """What the documented tables rest on: every job of three seeds, each once."""
    kept = benchmark.read(benchmark.RESULTS)
    assert sorted(jobs(3), key=repr) == sorted((one.job for one in kept), key=repr)


@pytest.mark.parametrize("title", benchmark.TABLES)
def test_the_documented_tables_are_those_of_the_outcomes(title: str) -> None:
    """A number in the docs is one that was measured."""
    table = "\n".join(benchmark.TABLES[title](benchmark.read(benchmark.RESULTS)))
    assert table in DOCS.read_text(encoding="utf-8")


def test_a_run_that_learned_nothing_is_known_by_its_losses() -> None:
    """As the audit knows it from a journal: our rule withholds its advice then."""
    assert rules.watched({0: 1.0, 100: 1.2, 200: 1.3, 300: 1.4}).never_improved
    assert not rules.watched({0: 1.0, 100: 0.8, 200: 0.7, 300: 0.6}).never_improved
    assert not rules.watched({}).never_improved


def test_alarms_are_counted_by_kind() -> None:
    """A rule that always says 2 is wrong on everything that is not ample, and misses nothing."""
    said: dict[str, int | None] = {"always": 2, "never": None}
    pooled = Pooled(closed=0.8, share=0.5)
    always = [
        Outcome(job=job, closed=0.9, at={2: 0.8, job.r: 0.9}, suggested=said, pooled=pooled)
        for job in jobs(1)
        if job.r > 2
    ]
    _, _, first, second = scoring.alarms(always)
    assert first == "| always | 12 of 12 | 12 of 12 | 3 of 3 | 3 of 3 | 0 of 40 |"
    assert second == "| never | 0 of 12 | 0 of 12 | 0 of 3 | 0 of 3 | 40 of 40 |"
    assert scoring.costs(always)[2] == "| always | 64 | 25% | 10.0 | 10.0 | 10.0 | 64 |".replace("25%", "23%")
