"""Tests of `gradience_wandb.contents`, which needs no wandb."""

import math
from collections.abc import Callable

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
    start = {"event": "run_start", "config": {"lora": {"r": 8, "dropout": None, "scale": math.nan}}}
    assert contents.contents(batch(start), Known()).config["lora"] == {"r": 8, "scale": "NaN"}


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
