"""Detectors: what makes each fire, what leaves it silent, and that a watch can be laid down and taken up anywhere."""

import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.policy import catalogue
from gradience.policy.detectors import CODES, Monitors

Event = tuple[str, int | None, dict[str, Any]]
PLANNED = 400


def falling(seed: int = 0) -> list[float]:
    """An ordinary loss: it falls, and scatters."""
    draw = random.Random(seed)
    return [2.0 * math.exp(-step / 100) + 0.5 + draw.gauss(0, 0.05) for step in range(PLANNED)]


def run(
    losses: Sequence[float],
    evals: dict[int, dict[str, Any]] | None = None,
    *,
    norm: Callable[[int], float] = lambda _: 1.0,
    lr: Callable[[int], float] = lambda step: 1e-4 * (1.02 - step / PLANNED),
    planned: int | None = PLANNED,
) -> list[Event]:
    """The events of a run, with evaluations of its test split at some steps."""
    events: list[Event] = [("run_start", None, {"config": {"training": {"max_steps": planned}}})]
    for step, loss in enumerate(losses, start=1):
        events.append(("train_step", step, {"loss": loss, "lr": lr(step), "grad_norm": norm(step)}))
        if evals and step in evals:
            events.append(("eval", step, {"split": "test", "metrics": evals[step]}))
    return [*events, ("run_end", None, {"status": "ok"})]


def alerts(events: Sequence[Event], monitors: Monitors | None = None) -> list[dict[str, Any]]:
    """What fires."""
    monitors = monitors or Monitors()
    return [alert for event in events for alert in monitors.observe(*event)]


def codes(events: Sequence[Event]) -> list[str]:
    """What fires, by code."""
    return [alert["code"] for alert in alerts(events)]


def every(steps: int, metrics: Callable[[int], dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """An evaluation every so many steps; `metrics` gets its number, from 1."""
    return {step: metrics(step // steps) for step in range(steps, PLANNED + 1, steps)}


GOOD = falling()
EVALS = every(50, lambda i: {"loss": 1.5 - 0.08 * i, "accuracy": 0.6 + 0.03 * i, "n": 500})
HELD = (0.9, 0.7, 0.65, 0.66, 0.665, 0.66, 0.665, 0.655)

FIRES: dict[str, Sequence[Event]] = {
    "loss_nonfinite": run([*GOOD[:100], math.nan, *GOOD[101:]]),
    "loss_diverged": run([*GOOD[:200], *(0.9 + 0.03 * step for step in range(100))]),
    "loss_spike": run([*GOOD[:200], 3.0, *GOOD[201:]]),
    "grad_explosion": run(GOOD, norm=lambda step: 50.0 if step in (200, 203, 206) else 1.0 + 0.2 * (step % 3)),
    "loss_plateau": run([2.0 + 0.01 * math.sin(step) for step in range(PLANNED)], lr=lambda _: 1e-4),
    "overfitting": run(GOOD, every(50, lambda i: {"loss": 1.0 + 0.1 * abs(i - 3)})),
    "memorization_gap": run(GOOD, every(50, lambda i: {"loss": 1.2 + 0.01 * i})),
    "eval_regression": run(GOOD, every(50, lambda i: {"accuracy": 0.9 - 0.1 * (i == 8), "n": 500})),
    "never_improved": run(GOOD, every(50, lambda _: {"loss": 0.6})),
}
SILENT: dict[str, Sequence[Event]] = {
    "an ordinary run": run(GOOD, EVALS),
    "another one": run(falling(1), EVALS, planned=None),
    "a constant loss at the end of its schedule": run([2.4 - 0.01 * min(step, 200) for step in range(PLANNED)]),
    "a noisy loss": run([2.0 + random.Random(3).gauss(0, 0.5) for _ in range(PLANNED)], planned=None),
    "one spike is no divergence": [e for e in FIRES["loss_spike"] if e[1] != 201],
    "norms that rise slowly": run(GOOD, norm=lambda step: 1.0 + step / 20),
    "a held-out loss that rests": run(GOOD, every(50, lambda i: {"loss": HELD[i - 1]})),
    "an accuracy within its noise": run(GOOD, every(50, lambda i: {"accuracy": 0.9 - 0.01 * (i == 8), "n": 500})),
    "a metric whose direction nobody knows": run(GOOD, every(50, lambda i: {"throughput": 100.0 / i})),
    "the training split evaluated": [
        (name, step, {**payload, "split": "train"} if name == "eval" else payload)
        for name, step, payload in FIRES["never_improved"]
    ],
    "two evaluations": run(GOOD, {200: {"loss": 0.9}, 400: {"loss": 0.9}}),
    "losses that are really 0": run([*GOOD[:100], *[0.0] * 50]),
    "a loss that rises is no plateau": run([2.0 + 0.3 * step / PLANNED for step in range(PLANNED)], lr=lambda _: 1e-4),
    "a first evaluation late in the run": run(GOOD, {200: {"loss": 0.6}, 300: {"loss": 0.6}, 400: {"loss": 0.6}}),
    "an accuracy at its best while the loss rises": run(
        GOOD, every(200, lambda i: {"loss": 1.0 + 0.1 * i, "accuracy": 0.5 + 0.1 * i})
    ),
    "steps without anything": [("train_step", step, {}) for step in range(50)],
}


@pytest.mark.parametrize("code", CODES)
def test_each_detector_fires_on_what_it_is_for(code: str) -> None:
    """Its alert has the rule's words, the facts, the thresholds and the state it was made from."""
    (alert, *again) = [alert for alert in alerts(FIRES[code]) if alert["code"] == code]
    assert len(again) <= 1
    assert alert["context"]["thresholds"] == catalogue.shipped().thresholds(code)
    assert alert["context"]["state"]
    assert len(alert["message"]) < 256
    assert "{" not in alert["message"]


@pytest.mark.parametrize("case", SILENT)
def test_nothing_fires_on_what_is_ordinary(case: str) -> None:
    """A false alarm costs more than a late one."""
    assert codes(SILENT[case]) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("noise", "spread"), [(0.02, 0.3), (0.1, 0.5), (0.3, 1.0)])
def test_noise_is_no_divergence_and_no_explosion(seed: int, noise: float, spread: float) -> None:
    """However far losses and norms scatter, over thousands of steps: nothing worse than a remark."""
    draw = random.Random(seed)
    losses = [(1.5 * math.exp(-step / 1000) + 0.8) * (1 + draw.gauss(0, noise)) for step in range(3000)]
    norms = [math.exp(draw.gauss(0, spread)) for _ in range(3001)]
    found = alerts(run(losses, norm=norms.__getitem__, planned=3000, lr=lambda step: 1e-4 * (1.02 - step / 3000)))
    assert [alert["code"] for alert in found if alert["severity"] != "info"] == []


def test_zeros_stand_for_nan() -> None:
    """Three in a row; one or two do not, and neither begins a divergence."""
    for count, fired in ((1, []), (2, []), (3, ["loss_nonfinite"]), (60, ["loss_nonfinite"])):
        losses = [*GOOD[:100], *[0.0] * count, *GOOD[100 + count :]]
        assert codes(run(losses, norm=lambda _: 0.0)) == fired


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_norm_or_an_evaluation_that_is_not_finite_counts_too(value: float) -> None:
    """Trainers hide NaN losses, and not their norms."""
    (alert,) = alerts(run(GOOD, norm=lambda step: value if step == 200 else 1.0))
    assert (alert["context"]["name"], alert["context"]["step"]) == ("train_step/grad_norm", 200)
    (alert,) = alerts(run(GOOD, {200: {"loss": value}}))
    assert alert["context"]["name"] == "eval/test/loss"


def test_a_gradient_that_explodes_often_is_a_warning() -> None:
    """Once is worth a remark."""
    found = [alert["severity"] for alert in alerts(FIRES["grad_explosion"])]
    assert found == ["info", "warning"]


def test_a_rule_speaks_once_in_a_tenth_of_the_run() -> None:
    """However often its condition begins anew."""
    losses = [math.nan if step % 2 else loss for step, loss in enumerate(GOOD)]
    steps = [alert["context"]["step"] for alert in alerts(run(losses))]
    assert len(steps) == 10
    assert all(later - earlier >= PLANNED // 10 for earlier, later in pairwise(steps))


def test_of_several_learning_rates_the_largest_counts() -> None:
    """One for each group of parameters; a group may have none."""
    flat = [2.0 + 0.01 * math.sin(step) for step in range(PLANNED)]
    events = [
        (name, step, {**body, "lr": [None, 1e-4, 0.0]} if name == "train_step" else body)
        for name, step, body in run(flat)
    ]
    assert codes(events) == ["loss_plateau"]


def test_what_a_resumed_run_repeats_is_not_judged_twice() -> None:
    """Steps and evaluations of before the interruption come again."""
    events = run(GOOD, EVALS)[:-1]
    again = [event for event in events if (event[1] or 0) > 150]
    assert codes([*events[: events.index(again[0])], *again[:60], events[0], *again, ("run_end", None, {})]) == []


def test_a_run_resumed_from_far_back_has_not_diverged() -> None:
    """The loss of an early step lies above the best one of a later: it is told anew. So is a best evaluation."""
    again = run([*falling(2)[:200], *falling(3)[200:]], every(50, lambda i: {"loss": 1.5 - 0.1 * i}))
    first = run(falling(2), every(50, lambda i: {"loss": 0.1 if i == 8 else 1.5 - 0.1 * i}))[:-1]
    begins = next(place for place, event in enumerate(again) if event[1] == 11)
    assert codes([*first, again[0], *again[begins:]]) == []


def test_a_run_that_goes_on_after_an_interruption_remembers_its_best() -> None:
    """No step stands twice: what was best stays the bar."""
    first = run(GOOD[:200], {50: {"accuracy": 0.9}})[:-1]
    second = [
        first[0],
        ("train_step", 201, {"loss": 0.7}),
        ("eval", 201, {"split": "test", "metrics": {"accuracy": 0.6}}),
    ]
    assert codes([*first, *second, ("run_end", None, {})]) == ["eval_regression"]


def test_a_run_without_steps_is_not_flooded() -> None:
    """Points are counted in their stead."""
    events: list[Event] = [("train_step", None, {"loss": math.nan if at % 2 else 1.0}) for at in range(1000)]
    assert 1 < len(codes(events)) <= 10


@pytest.mark.parametrize("code", CODES)
def test_the_state_is_strict_json(code: str) -> None:
    """Of alerts and of the watch: no infinity for what is not known yet."""
    monitors = Monitors()
    for event in FIRES[code]:
        json.dumps([monitors.observe(*event), monitors.state()], allow_nan=False)


def test_a_run_that_diverged_does_not_overfit() -> None:
    """Its evaluations rise with its training loss, each in its own time."""
    losses = [*GOOD[:200], *(0.9 * 1.2**step for step in range(100))]
    found = codes(run(losses, every(30, lambda i: {"loss": max(1.5 - 0.1 * i, 1.3 ** (30 * i - 200))})))
    assert {"loss_diverged"} <= set(found) <= {"loss_diverged", "loss_spike", "eval_regression"}


def test_a_policy_switches_a_detector_off_and_moves_its_thresholds() -> None:
    """As it does with every rule."""
    policy = catalogue.shipped().changed("loss_spike", score=100.0)
    assert alerts(FIRES["loss_spike"], Monitors(policy)) == []
    assert [alert["code"] for alert in alerts(FIRES["loss_spike"])] == ["loss_spike"]


@given(st.sampled_from(sorted(FIRES)), st.lists(st.integers(0, PLANNED), max_size=4))
@settings(max_examples=30)
def test_a_watch_can_be_laid_down_and_taken_up(code: str, places: list[int]) -> None:
    """Through JSON, anywhere: the alerts are the same."""
    events, monitors, found = FIRES[code], Monitors(), []
    for place, event in enumerate(events):
        if place in places:
            monitors = Monitors(state=json.loads(json.dumps(monitors.state())))
        found += monitors.observe(*event)
    assert found == alerts(events)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train_step", "eval", "run_start", "run_end", "alert", "odd"]),
            st.none() | st.integers(0, 9),
            st.dictionaries(
                st.sampled_from(["loss", "lr", "grad_norm", "split", "metrics", "config"]),
                st.none() | st.floats() | st.text(max_size=3) | st.lists(st.floats(), max_size=2)
                | st.dictionaries(st.sampled_from(["loss", "ppl", "n"]), st.none() | st.floats(), max_size=2),
            ),
        )
    )
)  # fmt: skip
def test_no_event_breaks_a_watch(events: list[Event]) -> None:
    """Whatever stands in a file."""
    for alert in alerts(events):
        assert alert["code"] in CODES


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_a_metric_that_stays_where_it_is_did_not_fall(accuracy: float) -> None:
    """At either end of its range, where neither a share of it nor a standard error allows anything."""
    assert "eval_regression" not in codes(run(GOOD, every(50, lambda _: {"accuracy": accuracy})))
