"""Tests of `gradience_wandb.guest`: what a run of somebody else's receives."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

pytest.importorskip("wandb")

from gradience_wandb import contents, guest
from gradience_wandb.guest import Gift
from gradience_wandb.known import Known

from gradience.mirror.sink import Batch

MakeBatch = Callable[..., Batch]
KINDS = ("audit", "report")


def _audit(step: int, used: float) -> dict[str, Any]:
    metrics = {"utilization_mean": used, "adapter": {"fingerprint": f"f{step}"}, "modules": {}}
    return {"event": "metrics", "step": step, "kind": "lora_audit", "metrics": metrics}


def _advice(step: int, verdict: str, *codes: str) -> dict[str, Any]:
    advice = {"recommendations": [], "verdict": verdict, "codes": list(codes), "adapter": f"f{step}"}
    return {"event": "recommendation", "step": step, **advice}


def _after(known: Known, given: Gift) -> Known:
    """The run once it has what it was given."""
    config = {**known.config, "gradience": given.ours}
    return msgspec.structs.replace(
        known, tags=given.tags, notes=given.notes, config=config, told=given.summary["gradience"]
    )


def test_it_gets_what_its_own_tracker_does_not_have(batch: MakeBatch) -> None:
    """Audit, advice, alerts; neither the configuration nor the curves, whose names are its tracker's too."""
    step = {"event": "train_step", "step": 9, "loss": 0.5}
    eval_ = {"event": "eval", "step": 9, "split": "dev", "metrics": {"loss": 1.0}}
    alert = {"event": "alert", "step": 9, "severity": "warning", "code": "spike", "message": "m"}
    start = {"event": "run_start", "config": {"lr": 2}}
    given = guest.gift(
        batch(start, step, eval_, alert, _audit(10, 0.5), _advice(10, "review")), Known(config={"lr": 1}), None, KINDS
    )
    assert given.summary == {
        "alerts/warning": 1.0,
        "lora_audit/utilization_mean": 0.5,
        "gradience": {
            "alert": {"spike": "warning at step 9: m"},
            "verdict": "review",
            "codes": "",
            "adapter": "f10",
            "advice_step": "10",
            "note": contents.mark(given.notes),
        },
    }
    assert given.tags == ("gradience:review", "gradience:spike")
    assert set(given.files) == {"gradience/audit.json", "gradience/report.html", "gradience/report.md"}


def test_what_a_person_wrote_stays(batch: MakeBatch) -> None:
    """Tags are added to theirs, a note is put where none is, and replaced as long as it is ours."""
    audit = batch(_audit(10, 0.5), _advice(10, "review", "over_provisioned"))
    theirs = Known(tags=("mine",), notes="by hand")
    assert guest.gift(audit, theirs, None, KINDS).notes == "by hand"
    given = guest.gift(audit, Known(tags=("mine",)), None, KINDS)
    assert given.tags == ("mine", "gradience:review", "gradience:over_provisioned")
    assert given.notes.startswith("**Verdict: review**")
    second = guest.gift(
        batch(_audit(20, 0.5), _advice(20, "ok"), first=3), _after(Known(tags=("mine",)), given), None, KINDS
    )
    assert (second.tags, second.notes[:15]) == (("mine", "gradience:ok"), "**Verdict: ok**")


def test_advice_about_an_older_step_changes_nothing(batch: MakeBatch) -> None:
    """Whichever journal it comes from, in whatever order; that it was delivered is remembered."""
    newer = guest.gift(batch(_audit(20, 0.2), _advice(20, "review")), Known(), None, KINDS)
    known = _after(Known(), newer)
    older = guest.gift(batch(_audit(10, 0.1), _advice(10, "ok"), run_id="run-2"), known, None, KINDS)
    assert (older.tags, older.notes, older.files) == (newer.tags, newer.notes, {})
    assert older.summary == {"gradience": newer.summary["gradience"]}
    both = guest.gift(
        batch(_audit(20, 0.2), _advice(20, "review"), _audit(10, 0.1), _advice(10, "ok")), Known(), None, KINDS
    )
    assert both.summary == newer.summary


def test_a_run_of_ours_keeps_what_its_own_journal_says(batch: MakeBatch) -> None:
    """It may be named for the audit of another journal, too: its own is delivered from where it stands."""
    told = {"run_id": "run-1", "cursor": "7:abc", "status": "ok", "verdict": "ok"}
    known = Known(config={"gradience": {"run_id": "run-1", "created_by": "gradience", "configured": 1}}, told=told)
    audit = batch(_audit(10, 0.5), _advice(10, "review"), {"event": "run_end", "status": "error"}, run_id="run-2")
    given = guest.gift(audit, known, None, KINDS)
    assert given.summary["gradience"].items() >= {**told, "verdict": "review"}.items()
    assert given.ours.items() >= known.config["gradience"].items()


def test_every_journal_has_its_own_place_on_a_run(batch: MakeBatch) -> None:
    """Two checkpoints that were audited one by one have a journal each."""
    known = Known()
    for run_id in ("run-1", "run-2", "with.dots"):
        known = _after(known, guest.gift(batch(_audit(1, 0.1), run_id=run_id), known, None, ()))
    assert [str(guest.position(known, run_id))[0] for run_id in ("run-1", "run-2", "with.dots")] == ["1", "1", "1"]
    assert guest.position(known, "run-3") is None
    assert known.config["gradience"]["run_id"] == "run-1"


@pytest.mark.parametrize("odd", ["text", {"cursors": "text"}, {"cursors": {"run-1": 7}}, ["list"]])
def test_what_somebody_else_keeps_under_our_name_is_no_obstacle(batch: MakeBatch, odd: Any) -> None:
    """It is nothing that we know."""
    given = guest.gift(batch(_audit(1, 0.1)), Known(config={"gradience": odd}), None, ())
    assert set(given.ours["cursors"]) == {"run-1"}
