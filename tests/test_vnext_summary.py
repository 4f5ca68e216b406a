"""What a run looks like from its telemetry."""

import math
from typing import Any

import pytest

from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.summary import Summary
from gradience.vnext.types import SCHEMA


def seen(*events: dict[str, Any]) -> SignalSnapshot:
    """The snapshot after some events of one run."""
    summary = Summary()
    for number, event in enumerate(events, 1):
        raw = codec.encode({"schema": SCHEMA, "ts": float(number), "run_id": "r", "step": None} | event)
        summary.add(Record(number, 0, raw, codec.decode(raw)))
    return summary.snapshot()


def train(step: int | None, **payload: Any) -> dict[str, Any]:
    return {"event": "train_step", "step": step, **payload}


def judged(step: int | None, split: str, **metrics: Any) -> dict[str, Any]:
    return {"event": "eval", "step": step, "split": split, "metrics": metrics}


@pytest.mark.parametrize(
    ("events", "gap", "source"),
    [
        ([judged(100, "train", ppl=2.0), judged(100, "test", ppl=3.0)], 1.5, "ppl"),
        ([judged(100, "train", loss=1.0), judged(100, "test", loss=1.5)], math.exp(0.5), "loss"),
        ([judged(100, "train", ppl=math.e), judged(100, "test", loss=1.5)], math.exp(0.5), "loss"),
        ([train(98, loss=1.0), judged(100, "test", loss=1.5), train(500, loss=0.1)], math.exp(0.5), "train_loss"),
        ([judged(100, "eval", loss=1.5), train(100, loss=1.0)], math.exp(0.5), "train_loss"),
        ([judged(None, "train", ppl=2.0), judged(None, "val", ppl=3.0)], 1.5, "ppl"),
        ([judged(9, "train", ppl=2.0), judged(9, "test", ppl=3.0), judged(90, "train", ppl=1.0)], 1.5, "ppl"),
        ([judged(9, "train", ppl=2.0), judged(9, "test", ppl=math.inf, loss=1.5)], math.exp(1.5) / 2, "loss"),
    ],
)
def test_the_gap_is_held_out_over_training_perplexity(events: list[dict[str, Any]], gap: float, source: str) -> None:
    """As logged where both are; else from the losses; else against the training loss of the time."""
    signals = seen(*events)
    assert signals.gap == pytest.approx(gap)
    assert signals.gap_source == source


@pytest.mark.parametrize(
    ("events", "note"),
    [
        ([train(1, loss=1.0)], "no held-out evaluation"),
        ([judged(1, "test", loss=1.0)], "no training evaluation or loss"),
        ([judged(1, "train", ppl=2.0), judged(10_000, "test", ppl=4.0)], "not measured near step 10000"),
        (
            [judged(1, "train", ppl=2.0), judged(1, "test", ppl=math.nan)],
            "held-out perplexity is not a positive finite",
        ),
        ([judged(1, "train", ppl=2.0), judged(1, "test", ppl=-2.0)], "held-out perplexity is not a positive finite"),
        ([judged(1, "train", ppl=0), judged(1, "test", ppl=2.0)], "training perplexity is not a positive finite"),
        ([judged(1, "train", ppl=2.0), judged(1, "test", accuracy=0.5)], "held-out perplexity was not logged"),
        ([judged(1, "train", loss=1.0), judged(1, "test", loss=1e9)], "too large"),
    ],
)
def test_without_a_gap_there_is_a_reason(events: list[dict[str, Any]], note: str) -> None:
    """Never a ratio of what cannot be compared."""
    signals = seen(*events)
    assert signals.gap is None
    assert note in (signals.gap_note or "")


def test_the_most_telling_held_out_split_is_taken() -> None:
    """test, then val, then validation, then eval."""
    events = [judged(1, split, ppl=2.0) for split in ("eval", "val", "validation")]
    assert seen(*events).test_split == "val"
    assert seen(judged(1, "test", ppl=1.0), *events).test_split == "test"


def test_alerts_are_gathered_by_code() -> None:
    """A thousand alerts of one code are one, counted; severities keep them apart."""
    alerts = [
        {"event": "alert", "step": i, "severity": "warning", "code": "A", "message": f"m{i}"} for i in range(1000)
    ]
    signals = seen(*alerts, {"event": "alert", "severity": "error", "code": "A", "message": "e"})
    assert [(alert.code, alert.count, alert.first_step, alert.step, alert.message) for alert in signals.alerts] == [
        ("A", 1000, 0, 999, "m999"),
        ("A", 1, None, None, "e"),
    ]
    assert signals.alert_counts == {"warning": 1000, "error": 1}


def test_an_older_checkpoints_audit_does_not_replace_a_newer_ones() -> None:
    """Neither its numbers nor its advice; the same step again does."""

    def audit(step: int, mean: float) -> list[dict[str, Any]]:
        advice = {"event": "recommendation", "step": step, "recommendations": [], "verdict": str(step)}
        return [{"event": "metrics", "step": step, "kind": "lora_audit", "metrics": {"utilization_mean": mean}}, advice]

    signals = seen(*audit(100, 0.1), *audit(200, 0.2), *audit(150, 0.3))
    assert (signals.utilization_mean, signals.lora_audit_step, signals.recommendation_step) == (0.2, 200, 200)
    assert signals.recommendation
    assert signals.recommendation["verdict"] == "200"
    assert seen(*audit(200, 0.2), *audit(200, 0.4)).utilization_mean == 0.4


def test_signals_go_by_their_public_names_and_the_audits_stand_above() -> None:
    """The last of the others wins."""
    signals = seen(
        {"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"stable_rank_mean": 2.0}},
        {"event": "metrics", "step": 2, "kind": "spectral", "metrics": {"avg_stable_rank": 9.0, "kappa": 1.0}},
        {"event": "metrics", "step": 3, "kind": "spectral", "metrics": {"kappa_mean": 3, "utilization": "?"}},
    )
    assert (signals.stable_rank_mean, signals.kappa_mean, signals.utilization_mean) == (2.0, 3.0, None)
    assert signals.extras["last_metrics_step"] == 3


def test_a_number_that_is_not_finite_is_told_where_it_was_first_seen() -> None:
    """And how often."""
    signals = seen(train(1, loss=1.0), train(2, loss=math.nan), train(3, loss=math.nan, lr=[math.inf]))
    assert [(found.name, found.value, found.step, found.count) for found in signals.nonfinite] == [
        ("train_step/loss", "NaN", 2, 2),
        ("train_step/lr/0", "Infinity", 3, 1),
    ]


def test_the_state_of_a_run_does_not_grow_with_what_it_invents() -> None:
    """Splits, codes, event names and metrics without end are bounded."""
    signals = seen(
        *(judged(1, f"s{i}", loss=1.0) for i in range(500)),
        *({"event": "alert", "severity": "info", "code": f"c{i}", "message": ""} for i in range(500)),
        *({"event": f"e{i}"} for i in range(500)),
        train(1, **{f"k{i}": math.nan for i in range(500)}),
    )
    sizes = [len(part) for part in (signals.evals, signals.alerts, signals.counts, signals.nonfinite)]
    assert max(sizes) <= 102
    assert sum(signals.counts.values()) == 1501


def test_an_audit_does_not_lengthen_the_run_it_follows() -> None:
    """The last time of a run is that of its end, however much later it was audited."""
    signals = seen(
        {"event": "run_start", "config": {}, "ts": 10.0},
        {"event": "run_end", "status": "ok", "ts": 20.0},
        {"event": "metrics", "kind": "lora_audit", "metrics": {}, "ts": 90.0},
    )
    assert (signals.first_ts, signals.last_ts) == (10.0, 20.0)
