import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit.record import AuditRecord, AuditSummary
from gradience.mirror import standing, view
from gradience.mirror.history import History
from gradience.mirror.sink import Batch, Position
from gradience.policy import audit_event
from gradience.policy.advice import advise
from gradience.testing import samples
from gradience.vnext.record import Record
from gradience.vnext.types import ENVELOPE


def record(event: str, **fields: Any) -> Record:
    return samples.records([samples.line("r", event, **fields)])[0]


def batch(*records: Record, before: History | None = None) -> Batch:
    history = before or History()
    return Batch(
        records=records,
        position=Position(1, "f"),
        alerts=history.alerts,
        advised=history.advised,
        nonfinite=history.nonfinite,
    )


def values(one: Record) -> dict[str, float]:
    return {point.key: point.value for point in view.points(one)}


def test_a_train_step_becomes_points_at_its_own_step_and_time() -> None:
    """Known fields and extras stand under train/, at the event's step and ts."""
    one = record("train_step", step=7, ts=12.5, loss=2.0, grad_norm=0.5, tokens=512)
    points = {point.key: point for point in view.points(one)}
    assert points["train/loss"] == view.Point("train/loss", 2.0, 7, 12.5)
    assert values(one) == {"train/loss": 2.0, "train/grad_norm": 0.5, "train/tokens": 512.0}


def test_one_learning_rate_is_lr_and_several_are_numbered() -> None:
    """Parameter groups become train/lr_0, train/lr_1; a single one stays train/lr."""
    assert values(record("train_step", step=1, lr=0.1)) == {"train/lr": 0.1}
    assert values(record("train_step", step=1, lr=[0.1])) == {"train/lr": 0.1}
    assert values(record("train_step", step=1, lr=[0.1, 0.2])) == {"train/lr_0": 0.1, "train/lr_1": 0.2}


def test_an_eval_stands_under_its_split() -> None:
    """Metrics of two splits never share a curve."""
    assert values(record("eval", step=5, split="test", metrics={"accuracy": 0.5})) == {"eval/test/accuracy": 0.5}


def test_nested_metrics_become_paths_and_by_type_is_flattened_away() -> None:
    """lora_audit/attn/utilization_mean, and no section for a level that says nothing."""
    metrics = {"rank_waste": 0.5, "by_type": {"attn": {"utilization_mean": 0.25}}}
    assert values(record("metrics", kind="lora_audit", metrics=metrics)) == {
        "lora_audit/rank_waste": 0.5,
        "lora_audit/attn/utilization_mean": 0.25,
    }


def test_per_module_tables_lists_and_text_are_no_points() -> None:
    """What belongs in an artifact never becomes hundreds of charts."""
    tables = {"modules": {"r": [8, 8]}, "by_layer": {"r": 1}, "by_target": {"q_proj": {"r": 1}}, "adapter": {"r": 8}}
    metrics = {**tables, "energy_kept": [0.9], "method": "qr", "exact": True}
    assert values(record("metrics", kind="lora_audit", metrics=metrics)) == {"lora_audit/exact": 1.0}


def test_a_deeper_model_has_no_more_charts(make_record: Callable[..., AuditRecord]) -> None:
    """The points of an audit are those of the whole and of its types, however many layers and targets there are."""
    found = []
    for layers in (1, 40):
        audit = make_record({f"layers.{i}.{kind}": [2.0, 1.0] for i in range(layers) for kind in ("q_proj", "up_proj")})
        payload = json.loads(json.dumps(audit_event.metrics(audit, advise(audit))))
        found.append(set(values(record("metrics", kind="lora_audit", metrics=payload))))
    assert found[0] == found[1]
    assert len(found[0]) < 60


def test_a_chart_of_an_audit_is_a_measure_that_its_text_shows(make_record: Callable[..., AuditRecord]) -> None:
    """Details stay in audit.json, for the whole and for each type; what is left out is a field that exists."""
    audit = make_record({"layers.0.q_proj": [2.0, 1.0], "layers.0.up_proj": [2.0, 1.0]})
    payload = json.loads(json.dumps(audit_event.metrics(audit, advise(audit))))
    found = values(record("metrics", kind="lora_audit", metrics=payload))
    assert not {key.rpartition("/")[2] for key in found} & set(view._DETAILS)
    assert {"lora_audit/rank_waste", "lora_audit/attn/utilization_mean", "lora_audit/mlp/energy_share"} <= set(found)
    fields = {*payload, *AuditSummary.__struct_fields__}
    assert [name for name in (*view._DETAILS, *view._TABLES) if name not in fields] == []


def test_a_point_without_a_step_stands_at_zero() -> None:
    """Trackers want an integer, and show a value at step 0 as a number."""
    assert view.points(record("metrics", kind="k", metrics={"v": 1}))[0].step == 0


def test_a_nonfinite_value_is_a_tag_and_no_point() -> None:
    """NaN breaks charts, and is the most important event of a run."""
    one = record("train_step", step=3, loss=math.nan, lr=0.1)
    assert values(one) == {"train/lr": 0.1}
    assert view.tags(one) == {"gradience.nonfinite.train/loss": "NaN at step 3"}


def test_the_first_nonfinite_step_keeps_its_tag() -> None:
    """A run that stays at NaN still tells when it began, whatever the batches."""
    first, second = record("train_step", step=3, loss=math.nan), record("train_step", step=4, loss=math.inf)
    assert view.batch_tags(batch(first, second))["gradience.nonfinite.train/loss"] == "NaN at step 3"
    assert "gradience.nonfinite.train/loss" not in view.batch_tags(batch(second, before=History().after(first)))


def test_params_are_the_flattened_configuration() -> None:
    """Dots join levels, None is left out, lists are JSON, meta has its own prefix."""
    config = {"model_name": "m", "lora": {"r": 8, "dropout": None, "target_modules": ["q", "v"]}}
    one = record("run_start", config=config, meta={"git": {"commit": "abc"}, "steps": 10})
    assert view.params(one) == {
        "model_name": "m",
        "lora.r": 8,
        "lora.target_modules": '["q", "v"]',
        "meta.git.commit": "abc",
        "meta.steps": 10,
    }


def test_an_alert_is_a_tag_with_severity_step_and_message() -> None:
    """Its code is in the key, so that it can be searched."""
    one = record("alert", step=9, severity="warning", code="LR_HIGH", message="Too high")
    assert view.tags(one) == {"gradience.alert.LR_HIGH": "warning at step 9: Too high"}


def test_alerts_are_counted_over_batches() -> None:
    """alerts/<severity> goes on from what came before the batch."""
    one = record("alert", step=9, severity="warning", code="A", message="m")
    points = view.batch_points(batch(one, one, before=History().after(one)))
    assert [(point.key, point.value) for point in points] == [("alerts/warning", 2.0), ("alerts/warning", 3.0)]


def test_a_row_is_everything_that_a_line_measures() -> None:
    """Line by line, also one without numbers; a loss that is not a number is there, which no point can be."""
    lines = [record("train_step", step=1, loss=float("nan"), lr=0.5), record("of_a_later_version", anything=1)]
    first, second = view.rows(batch(*lines))
    assert (str(first.values["train/loss"]), first.values["train/lr"], second.values) == ("nan", 0.5, {})
    assert [point.key for point in view.batch_points(batch(*lines))] == ["train/lr"]


def test_advice_becomes_flat_tags() -> None:
    """Codes are joined by commas, None reads none, numbers are short; nested evidence is no tag."""
    advice: dict[str, Any] = {
        "verdict": "review",
        "codes": ["a", "b"],
        "suggested_rank": None,
        "rank_waste": 0.51234,
        "evidence": {},
    }
    assert view.tags(record("recommendation", step=6, recommendations=[], **advice)) == {
        "gradience.verdict": "review",
        "gradience.codes": "a,b",
        "gradience.suggested_rank": "none",
        "gradience.rank_waste": "0.5123",
        "gradience.advice_step": "6",
    }


def test_advice_about_an_older_step_never_replaces_newer_advice() -> None:
    """Auditing an older checkpoint later leaves the tags alone, in one batch or two."""
    new = record("recommendation", step=600, recommendations=[], verdict="ok")
    old = record("recommendation", step=300, recommendations=[], verdict="act")
    assert view.batch_tags(batch(new, old))["gradience.verdict"] == "ok"
    assert standing.advice(batch(old, before=History().after(new))) is None
    assert "gradience.verdict" not in view.batch_tags(batch(old, before=History().after(new)))


def test_a_batch_always_carries_the_run_id() -> None:
    """The tag by which a run is found again."""
    assert view.batch_tags(batch(record("train_step", step=1)))["gradience.run_id"] == "r"


def test_an_event_of_a_later_version_is_nothing() -> None:
    """What this version cannot place, it does not guess."""
    one = record("of_a_later_version", step=1, value=3)
    assert (view.points(one), view.params(one), view.tags(one)) == ([], {}, {})


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_no_extra_of_a_train_step_is_missed(extras: dict[str, float]) -> None:
    """The short cut for plain steps never hides a key of the user's own."""
    reserved = {*ENVELOPE, "nonfinite", "loss", "lr", "grad_norm"}
    extras = {key: value for key, value in extras.items() if key not in reserved}
    one = record("train_step", step=1, **{"loss": 1.0, **extras})
    assert values(one) == {"train/loss": 1.0} | {f"train/{key}": value for key, value in one.extras.items()}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schema":"gradience.vnext.telemetry/v1","ts":1,"run_id":"r","event":"train_step","loss":1,"x":2}\n',
        b'{"schema" :"gradience.vnext.telemetry/v1","ts":1,"run_id":"r","event":"train_step","step":1,"x":2}\n',
        b'{"schema":"gradience.vnext.telemetry/v1","ts":1,"run_id":"a:b","event":"train_step","step":1,"x":2}\n',
        b'{"schema":"gradience.vnext.telemetry/v1","ts":1,"run_id":"r","event":"train_step","step":1,"lr":null,"x":2}\n',
    ],
)
def test_lines_of_other_writers_keep_their_extras(raw: bytes) -> None:
    """Absent keys, nulls, blanks and colons in text do not fool the short cut."""
    assert values(samples.records([raw])[0])["train/x"] == 2.0


def test_a_tag_is_one_printable_line() -> None:
    """A message may carry escape sequences, and tags are read in terminals too."""
    event = {"event": "alert", "severity": "error", "code": "A\x1b]B", "message": "over\n\x1b[2Jit \u202eis"}
    (record,) = samples.records([samples.line("r", **event)])  # type: ignore[arg-type]
    assert view.tags(record) == {"gradience.alert.A\\x1b]B": "error: over\\n\\x1b[2Jit \\u202eis"}
