"""Names of a tracker's numbers, and what they become in a journal."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.history import logged
from gradience.history.logged import Place, Point


@pytest.mark.parametrize(
    ("name", "event", "part", "key"),
    [
        ("train/loss", "train_step", "", "loss"),
        ("loss", "train_step", "", "loss"),
        ("train/learning_rate", "train_step", "", "lr"),
        ("train/lr", "train_step", "", "lr"),
        ("train/rewards/mean", "train_step", "", "rewards/mean"),
        ("eval/test/ppl", "eval", "test", "ppl"),
        ("eval/loss", "eval", "eval", "loss"),
        ("eval_loss", "eval", "eval", "loss"),
        ("test/accuracy", "eval", "test", "accuracy"),
        ("lora_audit/attn/k", "metrics", "lora_audit", "attn/k"),
        ("my_number", "metrics", "logged", "my_number"),
        ("eval/", "metrics", "logged", "eval/"),
    ],
)
def test_a_name_has_its_place(name: str, event: str, part: str, key: str) -> None:
    """As our sinks and transformers' callbacks write them."""
    assert logged.place(name) == Place(event, part, key)


@pytest.mark.parametrize(
    "name",
    [
        "eval_runtime",
        "train/train_samples_per_second",
        "system/gpu.0.temp",
        "alerts/error",
        "train/global_step",
        "_step",
    ],
)
def test_what_is_the_trackers_own_has_none(name: str) -> None:
    """Speeds, loads, counts and axes."""
    assert logged.place(name) is None


def test_numbers_of_one_moment_stand_together() -> None:
    """In the order of time, whatever the order of series; learning rates of groups are a list."""
    found = list(
        logged.events(
            [
                Point("train/loss", 1.0, 2, 20.0),
                Point("train/loss", 2.0, 1, 10.0),
                Point("train/lr/1", 0.2, 1, 10.0),
                Point("train/lr_0", 0.1, 1, 10.0),
                Point("eval/test/loss", 3.0, 2, 20.0),
                Point("eval_runtime", 9.0, 2, 20.0),
            ]
        )
    )
    assert found == [
        {"ts": 10.0, "event": "train_step", "step": 1, "loss": 2.0, "lr": [0.1, 0.2]},
        {"ts": 20.0, "event": "train_step", "step": 2, "loss": 1.0},
        {"ts": 20.0, "event": "eval", "step": 2, "split": "test", "metrics": {"loss": 3.0}},
    ]


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.integers(0, 9), st.floats(0, 9))))
def test_any_names_give_events(points: list[tuple[str, int | None, float]]) -> None:
    """None is lost but those that belong to the tracker."""
    given_points = [Point(name, 1.0, step, ts) for name, step, ts in points]
    found = list(logged.events(given_points))
    assert len(found) <= len(given_points)
    assert bool(found) == any(logged.place(point.name) for point in given_points)


def test_no_number_pushes_out_another() -> None:
    """Two under one name, or under two names of one place, are two events; the same one twice is one."""
    points = [Point(name, value, 1, 10.0) for name, value in [("loss", 1.0), ("train/loss", 2.0), ("loss", 1.0)]]
    points += [Point("lr", math.nan, 1, 10.0), Point("train/lr/9999999", 0.5, 1, 10.0)]
    found = [{key: value for key, value in event.items() if key != "ts"} for event in logged.events(points)]
    assert repr(found) == repr(
        [
            {"event": "train_step", "step": 1, "loss": 1.0, "lr": math.nan, "lr/9999999": 0.5},
            {"event": "train_step", "step": 1, "loss": 2.0},
        ]
    )
