"""Tests of `gradience_wandb` offline: against a real wandb-core, read back from the files that it wrote."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradience_wandb import WandbSink

from gradience.audit.record import AuditRecord
from gradience.errors import TargetGoneError
from gradience.mirror.sink import Batch, Position, Run
from gradience.policy import audit_event
from gradience.policy.advice import advise
from gradience.testing import check_sink, samples
from gradience.vnext.types import RunStatus
from tests.integrations import wandb_files

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

MakeBatch = Callable[..., Batch]
START = {"event": "run_start", "config": {"lora": {"r": 8, "alpha": 16}}, "meta": {"git": "abc"}}


def _deliver(run: Run, *batches: Batch, status: RunStatus | None = None, **options: Any) -> None:
    sink = WandbSink(**options)
    sink.open(run)
    for batch in batches:
        sink.deliver(batch)
    sink.close(status, 10)


def _step(step: int, **values: Any) -> dict[str, Any]:
    return {"event": "train_step", "step": step, **values}


def test_the_sink_keeps_the_contract(wandb_home: Path) -> None:
    """The suite that every sink must pass; to deliver again what is there begins no other file."""

    def held(_tracked: object) -> object:
        found = wandb_files.read(wandb_home)
        return [found.rows.keys(), found.config, found.summary, found.tags, found.alerts, found.exits]

    check_sink(WandbSink, held, libraries=["wandb"])
    assert len(wandb_files.logs(wandb_home)) == 1


def test_the_run_is_a_folder_and_a_command_that_takes_it_online(wandb_home: Path, run: Run) -> None:
    """Also in what a cursor remembers of it, for `sync --status`."""
    tracked = WandbSink(project="p").open(run)
    assert tracked.url == f"file://{wandb_home}/wandb"
    assert tracked.hint == f"once online: WANDB_MODE=online gradience sync {run.journal} --to wandb --project p"


def test_a_line_is_a_row_at_its_number_over_the_step_of_training(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """With the time of the event, whatever its step is: steps that go back, as after a resume, are all there."""
    _deliver(run, batch(START, _step(10, loss=2.0), _step(20, loss=1.0), _step(10, loss=1.5)))
    found = wandb_files.read(wandb_home)
    assert found.values("train/loss") == {2: 2.0, 3: 1.0, 4: 1.5}
    assert found.values("gradience/step") == {2: 10, 3: 20, 4: 10}
    assert found.values("_timestamp") == {line: 1_700_000_000.0 + line for line in (1, 2, 3, 4)}
    assert found.axes["train/loss"] == "gradience/step"


def test_a_loss_that_is_not_a_number_stays_one(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """W&B takes NaN and infinities as they are; that there are any is told in the summary as well."""
    _deliver(run, batch(_step(1, loss=math.nan, grad_norm=math.inf)))
    found = wandb_files.read(wandb_home)
    assert [found.values(key)[1] for key in ("train/loss", "train/grad_norm")] == ["NaN", "Infinity"]
    assert found.summary["gradience"]["nonfinite"]["train/loss"] == "NaN at step 1"


def test_the_configuration_is_a_tree_and_its_first_values_stay(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """`config.lora.r` can be filtered by; a resume that says otherwise is told in the summary."""
    second = {"event": "run_start", "config": {"lora": {"r": 4, "alpha": 16}, "seed": 1}}
    _deliver(run, batch(START), batch(second, first=2))
    found = wandb_files.read(wandb_home)
    assert (found.config["lora"], found.config["seed"], found.config["meta"]) == (
        {"r": 8, "alpha": 16},
        1,
        {"git": "abc"},
    )
    assert found.config["gradience"]["run_id"] == "run-1"
    assert found.summary["gradience"]["param_conflict"] == "lora.r: 8, then 4"


def test_a_sink_goes_on_where_the_files_end(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """Another process finds the run by its id, adds what is new in a file of its own, and alerts nobody twice."""
    alert = {"event": "alert", "step": 1, "severity": "error", "code": "LOSS_NAN", "message": "m"}
    first = batch(START, alert)
    _deliver(run, first)
    _deliver(run, first, batch(_step(2, loss=1.0), first=3))
    found = wandb_files.read(wandb_home)
    assert {step: len(rows) for step, rows in found.rows.items()} == {1: 1, 2: 1, 3: 1}
    assert (found.alerts, found.tags, len(wandb_files.logs(wandb_home))) == (["LOSS_NAN"], ["gradience:LOSS_NAN"], 2)


def test_the_journal_alone_ends_a_run(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """A sink that lets go leaves the run as it is; the end comes with `run_end`, or a status from whoever knows."""
    _deliver(run, batch(START))
    assert wandb_files.read(wandb_home).exits == []
    _deliver(run, batch({"event": "run_end", "status": "error"}, first=2))
    assert wandb_files.read(wandb_home).exits == [1]
    _deliver(run, status=RunStatus.ERROR)
    assert wandb_files.read(wandb_home).exits == [1]
    _deliver(run, batch(_step(9, loss=1.0), first=3))
    assert wandb_files.read(wandb_home).exits == [1, 1]


def test_a_killed_run_is_ended_from_outside(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """`close` with a status ends what is still going on, and nothing that was never begun."""
    _deliver(run, status=RunStatus.ERROR)
    assert wandb_files.logs(wandb_home) == []
    _deliver(run, batch(START))
    _deliver(run, status=RunStatus.ERROR)
    found = wandb_files.read(wandb_home)
    assert (found.exits, found.summary["gradience"]["status"]) == ([1], "error")


@pytest.mark.usefixtures("wandb_home")
def test_no_core_is_left_behind(run: Run, batch: MakeBatch) -> None:
    """Neither by a sink that was closed, nor by one that went on to another run."""
    sink = WandbSink()
    pids = []
    for one in (run, Run(run_id="run-2", journal=run.journal, started=run.started)):
        sink.open(one)
        sink.deliver(batch(START, run_id=one.run_id))
        pids.append(sink._core.pid if sink._core else None)
    sink.close(None, 5)
    assert None not in pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_rows_of_another_file_are_never_taken_for_those_of_this_one(
    wandb_home: Path, run: Run, batch: MakeBatch
) -> None:
    """W&B replaces no row: to deliver a file anew that was replaced, longer or not, ends with what to do."""
    _deliver(run, batch(START, _step(1, loss=1.0)))
    for lines in ([START, _step(1, loss=2.0)], [{**START, "ts": 1.0}, *(_step(step, loss=2.0) for step in range(5))]):
        with pytest.raises(TargetGoneError, match="holds lines of another file"):
            _deliver(run, batch(*lines))
    assert wandb_files.read(wandb_home).values("train/loss") == {2: 1.0}


def test_many_lines_arrive_each_once(wandb_home: Path, run: Run) -> None:
    """More than fits into one block of the file, in batches."""
    records = samples.records(samples.steps("run-1", 1, 3000))
    parts = [tuple(records[at : at + 1000]) for at in range(0, 3000, 1000)]
    _deliver(run, *(Batch(records=part, position=Position(part[-1].line, f"f{part[-1].line}")) for part in parts))
    found = wandb_files.read(wandb_home)
    assert found.values("train/loss") == {line: 1 / line for line in range(1, 3001)}
    assert all(len(rows) == 1 for rows in found.rows.values())


def test_an_audit_is_a_table_an_artifact_and_a_note(
    wandb_home: Path, run: Run, batch: MakeBatch, make_record: Callable[..., AuditRecord]
) -> None:
    """Once, however often it is delivered; newer advice takes the place of what the older one left."""
    record = make_record({f"{layer}.q_proj": [3.0, 1.0, *[0.01] * 14] for layer in range(4)})
    told = advise(record)
    audit = {"event": "metrics", "step": 5, "kind": "lora_audit", "metrics": audit_event.metrics(record, told)}
    advice = {"event": "recommendation", "step": 5, **audit_event.recommendation(record, told)}
    lines = batch(audit, advice)
    _deliver(run, lines)
    _deliver(run, lines, batch({"event": "recommendation", "step": 6, "recommendations": [], "verdict": "ok"}, first=3))
    found = wandb_files.read(wandb_home)
    named = [name.partition("-")[0] for name in found.artifacts]
    assert named == ["gradience", "run", "gradience"]  # W&B makes one of the table; the newer advice is in the last
    assert found.values("lora_audit/modules.nrows") == {1: 4}
    assert found.values("lora_audit/rank_waste")[1] > 0.5
    assert (found.notes.partition(" (")[0], found.tags) == ("**Verdict: ok**", ["gradience:ok"])


def test_advice_that_comes_in_a_later_process_has_the_files_of_its_audit(
    wandb_home: Path, run: Run, batch: MakeBatch
) -> None:
    """The audit is read back from where W&B keeps it for `wandb sync`."""
    metrics = {"utilization_mean": 0.5, "adapter": {"fingerprint": "f"}}
    _deliver(run, batch({"event": "metrics", "step": 5, "kind": "lora_audit", "metrics": metrics}))
    advice = {"event": "recommendation", "step": 5, "recommendations": [], "verdict": "ok", "adapter": "f"}
    _deliver(run, batch(advice, first=2))
    found = wandb_files.read(wandb_home)
    assert (found.artifacts, found.notes[:15]) == (["gradience-audit-run-1"] * 2, "**Verdict: ok**")
