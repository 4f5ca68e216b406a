"""Tests of `gradience_wandb.contents`, which needs no wandb."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from gradience_wandb import contents
from gradience_wandb.known import Known

from gradience.mirror.sink import Batch


def test_what_a_person_reads_is_printable(batch: Callable[..., Batch]) -> None:
    """Tags and alerts are one line each, whatever a message carries; the same words lead to the same tag again."""
    alert = {"event": "alert", "severity": "error", "code": "A\x1bB", "message": "over\n\x1b[2J"}
    found = contents.contents(batch(alert), Known())
    assert found.tags == ("gradience:A\\x1bB",)
    (notice,) = found.notices
    assert (notice.title, notice.text) == ("A\\x1bB", "error: over\\n\\x1b[2J")


def test_every_line_is_a_row_also_one_that_measures_nothing(batch: Callable[..., Batch]) -> None:
    """The last row of the history tells up to which line everything came; without numbers it has no step."""
    lines = [{"event": "of_a_later_version", "step": 3}, {"event": "train_step", "step": 4}]
    found = contents.contents(batch(*lines), Known())
    assert [(row.line, list(row.values)) for row in found.rows] == [(1, ["_timestamp"]), (2, ["_timestamp"])]


def test_a_metric_never_takes_a_name_of_wandbs_or_of_ours() -> None:
    """`_step` is W&B's own, and `gradience/step` is the x-axis."""
    names = {key: contents.legal(key) for key in ("_step", "gradience/step", "a.b")}
    assert names == {"_step": "metrics/_step", "gradience/step": "metrics/gradience/step", "a.b": "a.b"}


def test_a_setting_that_is_no_json_is_spelled(batch: Callable[..., Batch]) -> None:
    """NaN by its name, and nothing for what is not set, in a tree as deep as the journal's."""
    start = {"event": "run_start", "config": {"lora": {"r": 8, "dropout": None, "scale": math.nan, "to": [math.inf]}}}
    assert contents.contents(batch(start), Known()).config["lora"] == {"r": 8, "scale": "NaN", "to": ["Infinity"]}


def test_a_name_below_ours_is_never_a_branch_and_a_leaf(batch: Callable[..., Batch]) -> None:
    """Advice may bring fields of any name; those of our own branches step aside."""
    alert = {"event": "alert", "step": 1, "severity": "info", "code": "A", "message": "m"}
    advice = {"event": "recommendation", "recommendations": [], "verdict": "ok", "alert": "x"}
    told = contents.contents(batch(alert, advice), Known()).told
    assert (told["alert"], told["alert_"]) == ({"A": "info at step 1: m"}, "x")


def test_advice_makes_way_for_newer_advice_and_for_nothing_else(batch: Callable[..., Batch]) -> None:
    """Of the tags, only those of the advice that stood before go; an older step's advice changes nothing."""
    known = Known(
        tags=("mine", "gradience:review", "gradience:A"), told={"verdict": "review", "codes": "A", "advice_step": "5"}
    )
    fresh = {"event": "recommendation", "recommendations": [], "verdict": "ok", "codes": ["B"]}
    assert contents.contents(batch({**fresh, "step": 9}), known).tags == ("mine", "gradience:ok", "gradience:B")
    assert contents.contents(batch({**fresh, "step": 4}), known).tags == known.tags


def test_the_tag_of_an_alert_outlives_newer_advice(batch: Callable[..., Batch]) -> None:
    """It tells what has happened, not what stands."""
    known = Known(tags=("gradience:LOSS_NAN", "gradience:review"), told={"verdict": "review", "advice_step": "5"})
    fresh = {"event": "recommendation", "step": 9, "recommendations": [], "verdict": "ok"}
    assert contents.contents(batch(fresh), known).tags == ("gradience:LOSS_NAN", "gradience:ok")


def test_the_newest_of_two_journals_advice_stands(batch: Callable[..., Batch]) -> None:
    """That of the batch's own journal, or what another one left on the run."""
    advice = {"event": "recommendation", "step": 7, "recommendations": [], "verdict": "ok"}
    known = Known(told={"verdict": "review", "advice_step": "5"})
    assert contents.contents(batch(advice, advised=9), known).told["verdict"] == "review"


@pytest.mark.parametrize(
    ("severity", "level"), [("info", "INFO"), ("warning", "WARN"), ("error", "ERROR"), ("critical", "ERROR")]
)
def test_an_alert_keeps_its_weight(batch: Callable[..., Batch], severity: str, level: str) -> None:
    """In the three levels that W&B has; one without a code has a title, and no tag."""
    alert = {"event": "alert", "severity": severity, "code": "", "message": "m"}
    found = contents.contents(batch(alert), Known())
    assert [(one.title, one.level) for one in found.notices] == [("unnamed", level)]
    assert found.rows[0].values["gradience/step"] == 0  # a point needs an x
    assert found.tags == ()


@pytest.mark.parametrize(("code", "tag"), [("x" * 54, "x" * 54), ("x" * 55, "x" * 53 + "…")])
def test_a_tag_is_as_long_as_wandb_takes(batch: Callable[..., Batch], code: str, tag: str) -> None:
    """It refuses a run with a longer one; a name that just fits is whole."""
    alert = {"event": "alert", "severity": "info", "code": code, "message": "m"}
    assert contents.contents(batch(alert), Known()).tags == (f"gradience:{tag}",)


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("error", 1), ("aborted", 130), ("of_a_later_version", 0)])
def test_wandb_says_of_a_run_how_it_ended(status: str, code: int) -> None:
    """By its exit code: a run that failed is never shown as finished, nor the other way round."""
    assert contents.exit_code(status) == code


def test_a_run_stands_as_its_last_start_or_end_says(batch: Callable[..., Batch]) -> None:
    """One that was resumed goes on; what is neither changes nothing."""
    start, step, end = {"event": "run_start", "config": {}}, {"event": "train_step", "step": 1}, {"event": "run_end"}
    told = [
        contents.contents(batch(*lines), Known(told={"status": "error"})).told["status"]
        for lines in ([start, {**end, "status": "ok"}, step], [{**end, "status": "ok"}, start], [step])
    ]
    assert told == ["ok", "running", "error"]


@pytest.mark.parametrize(
    ("kind", "modules", "is_table"),
    [
        ("lora_audit", {"name": ["a"], "r": [8]}, True),
        ("lora_audit", {"name": ["a", "b"], "r": [8]}, False),
        ("lora_audit", {"name": ["a"], "r": 8}, False),
        ("lora_audit", {}, False),
        ("lora_audit", ["a"], False),
        ("spectral", {"name": ["a"], "r": [8]}, False),
    ],
)
def test_only_columns_of_one_length_are_a_table(
    batch: Callable[..., Batch], kind: str, modules: Any, is_table: bool
) -> None:
    """A foreign audit is delivered without one: it must not stop everything that comes after it."""
    event = {"event": "metrics", "step": 1, "kind": kind, "metrics": {"modules": modules}}
    (row,) = contents.contents(batch(event), Known()).rows
    assert row.table == (modules if is_table else None)


def test_a_configuration_never_takes_our_place(batch: Callable[..., Batch]) -> None:
    """What a run is known by stays, whatever a setting is called; so does what it was made with."""
    known = Known(config={"lr": 1, "gradience": {"run_id": "run-1", "created_by": "gradience", "of_run": "me/p/u1"}})
    start = {"event": "run_start", "config": {"gradience": {"run_id": "another"}, "lr": 1, "seed": 1}}
    found = contents.contents(batch(start, {"event": "run_start", "config": {"late": True}}), known)
    ours = found.config.pop("gradience")
    assert found.config == {"lr": 1, "seed": 1, "late": True}
    assert (ours["run_id"], ours["created_by"], ours["of_run"], ours["configured"]) == (
        "run-1",
        "gradience",
        "me/p/u1",
        2,
    )
    assert "param_conflict" not in found.told


def test_what_is_known_is_only_read(batch: Callable[..., Batch]) -> None:
    """A batch that is refused comes again, and must find the run as it was."""
    alert = {"event": "alert", "step": 1, "severity": "info", "code": "B", "message": "m"}
    known = Known(told={"alert": {"A": "before"}})
    assert set(contents.contents(batch(alert), known).told["alert"]) == {"A", "B"}
    assert known == Known(told={"alert": {"A": "before"}})


def test_another_file_is_known_by_the_line_of_its_configuration_alone(batch: Callable[..., Batch]) -> None:
    """Other lines differ from it without any harm, and a run without a configuration tells nothing."""
    start = {"event": "run_start", "config": {"lr": 1}}
    known = Known(config=contents.contents(batch(start), Known()).config)
    assert known.run_id == "run-1"
    assert not contents.is_of_another_file(batch(start, {"event": "train_step", "step": 1}), known)
    assert contents.is_of_another_file(batch({**start, "ts": 1.0}), known)
    assert not contents.is_of_another_file(batch({"event": "train_step", "step": 1}), Known())
