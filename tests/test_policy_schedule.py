"""Sums of learning rates, against transformers' own schedules."""

from typing import Any

import pytest

from gradience.policy import schedule


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize(("steps", "warmup"), [(100, 0), (100, 1), (100, 17), (1, 0), (50, 50), (40, 70)])
def test_the_sum_is_that_of_transformers_schedules(kind: str, steps: int, warmup: int) -> None:
    """Step by step, with a warm-up that takes longer than the run too."""
    torch, optimization = pytest.importorskip("torch"), pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    steered = optimization.get_scheduler(kind, optimizer, warmup, steps)
    expected = 0.0
    for _ in range(steps):
        expected += steered.get_last_lr()[0]
        optimizer.step()
        steered.step()
    found = schedule.full_steps(steps, {"lr_scheduler_type": kind, "warmup_steps": warmup})
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, 100),
        ({"lr_scheduler_type": "polynomial", "warmup_steps": 10}, 100),
        ({"lr_scheduler_type": "SchedulerType.LINEAR", "warmup_ratio": 0.1}, 4.5 + 45.5),
        ({"lr_scheduler": "cosine", "warmup_steps": "10"}, 4.5 + 45.5),
        ({"lr_scheduler": "cosine", "warmup_steps": 0.1, "warmup_ratio": 0.5}, 4.5 + 45.5),
        ({"lr_scheduler": "cosine", "warmup_steps": 0, "warmup_ratio": "nan"}, 50.5),
        ({"lr_scheduler": ["cosine"], "warmup_steps": {}}, 100),
    ],
)
def test_a_warm_up_is_a_number_or_a_share_of_steps(training: dict[str, Any], expected: float) -> None:
    """As releases of transformers write it; of a schedule that is not known the most is assumed."""
    assert schedule.full_steps(100, training) == expected
