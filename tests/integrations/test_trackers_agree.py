"""One journal, mirrored into MLflow and into W&B, says the same in both, read back through each tracker's own means.

What differs, and why:

* A number that is not finite is a point in W&B, which draws it, and none in MLflow, whose charts it breaks. The first
  one of each metric is told in both.
* A time is a whole number of milliseconds in MLflow, and the event's own in W&B.
* A name that a tracker does not take is changed there; MLflow has the original in a tag.
* The configuration is flat text in MLflow's params, and a tree with its types in W&B.
* What MLflow has in tags stands below `gradience` in W&B's summary; its short tags have verdict, codes and alerts.
* W&B has a row for each line, so that a point that comes twice stands there twice; MLflow keeps one of two that are
  the same in name, step, time and value.
"""

import gzip
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from gradience_mlflow import MLflowSink, limits
from gradience_mlflow import contents as mlflow_contents
from gradience_mlflow.keys import TAG, Names, legal
from gradience_wandb import WandbSink
from gradience_wandb import contents as wandb_contents
from gradience_wandb.known import Known
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from gradience.audit.record import AuditRecord
from gradience.mirror import artifacts, view
from gradience.mirror.cursor import Delivery
from gradience.mirror.sink import Batch, Position, Sink
from gradience.mirror.sync import sync
from gradience.policy import audit_event
from gradience.policy.advice import advise
from gradience.testing import samples
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations import wandb_files
from tests.integrations.wandb_double import server

if TYPE_CHECKING:
    from mlflow import MlflowClient

MakeRecord = Callable[..., AuditRecord]

ONLINE: Final = {"WANDB_MODE": "online", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}
FILES: Final = {name: name for name in ("audit.json", "report.html", "report.md")} | {
    "telemetry/run.jsonl.gz": "run.jsonl.gz"
}
OWN: Final = ("run_id", "note")  # of each tracker's own bookkeeping
READING: Final = """
import json, pathlib, sys, wandb
api = wandb.Api(timeout=10)
run = api.run(sys.argv[1])
for kind in ("audit", "telemetry"):
    name = f"gradience-{kind}-{run.id}:latest"
    api.artifact(sys.argv[1].replace(run.id, name)).download("back")
print(json.dumps({
    "rows": list(run.scan_history()), "config": dict(run.config), "summary": run.summary_metrics["gradience"],
    "tags": run.tags, "notes": run.notes, "state": run.state,
}))
"""


class Point(msgspec.Struct, frozen=True, order=True):
    """One value of a metric at a step and a time, in milliseconds."""

    step: int
    ts_ms: int
    value: float


class Told(msgspec.Struct, kw_only=True):
    """What a tracker says of a run."""

    points: dict[str, list[Point]]
    nonfinite: set[str]  # the metrics with such a value
    config: dict[str, str]
    tags: dict[str, str]
    note: str
    ended: bool


@pytest.fixture
def journal(tmp_path: Path, make_record: MakeRecord) -> Path:
    """A run with everything: it failed, was resumed with another setting, and was audited twice."""
    path = tmp_path / "demo" / "run.jsonl"
    config = {"model_name": "toy", "lora": {"r": 8, "target_modules": ["q", "v"]}, "training": {"seed": 1}}
    with TelemetryWriter(path, run_id="agree-1") as writer:
        writer.run_start(config, meta={"git": "abc", "nested": {"x": 1.5}})
        for step in range(1, 6):
            writer.train_step(step, loss=1 / step, lr=[1e-4, 5e-5], grad_norm=0.5 * step, tokens=512 * step)
        writer.train_step(6, loss=math.nan, lr=1e-4, grad_norm=math.inf)
        writer.train_step(7, loss=math.nan)
        writer.alert(severity="critical", code="LOSS_NAN", message="The loss is not a number", step=6)
        writer.alert(severity="warning", code="SLOW", message="too slow")
        writer.run_end("error", reason="ZeroDivisionError")
    with TelemetryWriter(path) as writer:
        writer.run_start({**config, "training": {"seed": 2}}, meta={"git": "abc"})
        for step in range(4, 9):
            writer.train_step(step, loss=2 / step, lr=1e-4, **{"naïve metric": step / 3})
        for n, split, loss in ((50, "train", 0.2), (60, "test", 0.3), (70, "test", math.nan)):
            writer.eval(8, split=split, metrics={"loss": loss, "accuracy": n / 100, "n": n, "names": ["a"]})
        writer.metrics(8, kind="spectral", metrics={"attn": {"kappa_mean": 3.0}, "by": {"deep": {"er": -1}}})
        writer.alert(severity="warning", code="SLOW", message="too slow again", step=8)
        writer.log("of_my_own", 8, value=1.0)
    for step, scale in ((8, 1.0), (4, 2.0)):
        record = make_record(
            {f"{i}.q_proj": [3.0 * scale, 1.0, *[0.01] * 6] for i in range(3)}, fingerprint=f"s:{step}"
        )
        advice = advise(record)
        audit = {"event": "metrics", "step": step, "kind": "lora_audit", "metrics": audit_event.metrics(record, advice)}
        append_events(
            path, None, [audit, {"event": "recommendation", "step": step, **audit_event.recommendation(record, advice)}]
        )
    return path


def _mirror(path: Path, sink: Sink) -> str:
    """Deliver everything; the tracked run."""
    outcome = sync(path, sink, patience_s=60.0)
    assert (outcome.state, outcome.rejected, outcome.unreadable) == (Delivery.UP_TO_DATE, 0, 0)
    return outcome.runs["agree-1"].id


def _from_mlflow(client: "MlflowClient", tracked: str) -> Told:
    data = client.get_run(tracked).data
    own = {tag.removeprefix(TAG): key for tag, key in data.tags.items() if tag.startswith(TAG)}
    history = {own.get(key, key): client.get_metric_history(tracked, key) for key in data.metrics}
    tags = {key: value for key, value in data.tags.items() if key.startswith("gradience.") and not key.startswith(TAG)}
    marked = {key.removeprefix("gradience.nonfinite.") for key in tags if key.startswith("gradience.nonfinite.")}
    return Told(
        points={key: sorted(Point(at.step, at.timestamp, at.value) for at in all_) for key, all_ in history.items()},
        nonfinite=marked,
        config=data.params,
        tags={key: value for key, value in tags.items() if key.removeprefix("gradience.") not in (*OWN, "created_by")},
        note=data.tags["mlflow.note.content"],
        ended=client.get_run(tracked).info.status == "FINISHED",
    )


def _from_wandb(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], **said: Any) -> Told:
    points: dict[str, list[Point]] = {}
    nonfinite = set()
    for row in rows:
        for key, value in _numbers(row):
            if math.isfinite(value):
                at = Point(row["gradience/step"], limits.milliseconds(row["_timestamp"]), value)
                points.setdefault(key, []).append(at)
            else:
                nonfinite.add(key)
    flat = view.flat({key: value for key, value in config.items() if key not in ("gradience", "_wandb")})
    summary = said["summary"]
    return Told(
        points={key: sorted(found) for key, found in points.items()},
        nonfinite=nonfinite,
        config={key: limits.text(value, limits.PARAM) for key, value in flat.items()},
        tags=dict(_tags({key: value for key, value in summary.items() if key not in (*OWN, "status")})),
        note=said["notes"],
        ended=(summary["status"], said["over"]) == ("ok", True),
    )


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The metrics of a row; W&B's own keys, the axis and tables are none. NaN is a text where rows are JSON."""
    for key, value in row.items():
        if key[0] != "_" and key.partition(".")[0] not in (wandb_contents.STEP, wandb_contents.TABLE):
            yield key, float(value)


def _tags(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"gradience.{key}.{leaf}", text) for leaf, text in value.items())
        else:
            yield f"gradience.{key}", value


def _short_tags(tags: Mapping[str, str]) -> set[str]:
    """What W&B has to have as tags, by what stands in MLflow's."""
    alerts = [key.removeprefix("gradience.alert.") for key in tags if key.startswith("gradience.alert.")]
    names = [tags["gradience.verdict"], *filter(None, tags["gradience.codes"].split(",")), *alerts]
    return {f"gradience:{name}" for name in names}


@pytest.mark.slow
def test_offline_both_say_the_same(journal: Path, store_uri: str, client: "MlflowClient", wandb_home: Path) -> None:
    """Every number with its step and time, what is not finite, the configuration, the tags, the note and the end."""
    pytest.importorskip("wandb")
    expected = _from_mlflow(client, _mirror(journal, MLflowSink(tracking_uri=store_uri)))
    _mirror(journal, WandbSink())
    found = wandb_files.read(wandb_home)
    rows = [row for line in sorted(found.rows) for row in found.rows[line]]
    said = {"summary": found.summary["gradience"], "notes": found.notes, "over": found.exits[-1] == 0}
    assert asdict(_from_wandb(rows, found.config, **said)) == asdict(expected)
    assert set(found.tags) == _short_tags(expected.tags)
    assert len(expected.points) > 30
    assert expected.nonfinite == {"train/loss", "train/grad_norm", "eval/test/loss"}
    assert expected.tags["gradience.param_conflict"] == "training.seed: 1, then 2"
    assert expected.tags["gradience.advice_step"] == "8"
    assert [name for name in (*expected.tags, *expected.points, *expected.config) if "seal" in name] == []


@pytest.mark.slow
def test_online_both_say_the_same(
    journal: Path, store_uri: str, client: "MlflowClient", wandb_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, through W&B's public API, and with the same files: those of the audit, and the journal itself."""
    pytest.importorskip("wandb")
    tracked = _mirror(journal, MLflowSink(tracking_uri=store_uri, artifacts=artifacts.KINDS))
    with server.serving() as serving:
        for key, value in {**serving.env(wandb_home), **ONLINE}.items():
            monkeypatch.setenv(key, value)
        path = _mirror(journal, WandbSink(entity="me", project="agree", artifacts=artifacts.KINDS))
        command = [sys.executable, "-c", READING, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=wandb_home, timeout=60)
    found = json.loads(done.stdout)
    expected = _from_mlflow(client, tracked)
    said = {"summary": found["summary"], "notes": found["notes"], "over": found["state"] == "finished"}
    assert asdict(_from_wandb(found["rows"], found["config"], **said)) == asdict(expected)
    assert set(found["tags"]) == _short_tags(expected.tags)
    for name, theirs in FILES.items():
        ours = Path(client.download_artifacts(tracked, name))
        assert (wandb_home / "back" / theirs).read_bytes() == ours.read_bytes()
    assert gzip.decompress((wandb_home / "back" / "run.jsonl.gz").read_bytes()) == journal.read_bytes()


KEYS: Final = st.text(st.sampled_from("ab_/é. -"), min_size=1, max_size=6)
CODES: Final = st.text(st.sampled_from("AB_. -"), max_size=4)  # MLflow makes one tag of two that differ in others
NUMBERS: Final = st.floats() | st.integers(-(2**70), 2**70) | st.booleans() | st.none()
VALUES: Final = NUMBERS | st.text(max_size=3) | st.lists(NUMBERS, max_size=2)
TREES: Final = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=3)
EVENTS: Final = st.one_of(
    st.fixed_dictionaries(
        {"event": st.just("train_step"), "loss": NUMBERS, "lr": st.lists(st.floats(), max_size=3) | st.floats()}
    ),
    st.fixed_dictionaries({"event": st.just("eval"), "split": st.sampled_from(["test", "a/b"]), "metrics": TREES}),
    st.fixed_dictionaries({"event": st.just("metrics"), "kind": st.sampled_from(["x", "é"]), "metrics": TREES}),
    st.fixed_dictionaries(
        {"event": st.just("alert"), "severity": st.sampled_from(["info", "error"]), "code": CODES, "message": KEYS}
    ),
    st.fixed_dictionaries({"event": st.just("recommendation"), "recommendations": st.just([]), "verdict": KEYS}),
)
STEPS: Final = st.none() | st.integers(0, 5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(EVENTS, STEPS, st.floats(1, 2e9)), min_size=1, max_size=8))
def test_any_events_become_the_same_numbers_and_tags(events: list[tuple[dict[str, Any], int | None, float]]) -> None:
    """What is sent to each tracker, from one batch of whatever a journal may hold."""
    lines = [samples.line("r", step=step, ts=ts, **event) for event, step, ts in events]
    batch = Batch(records=tuple(samples.records(lines)), position=Position(len(lines), "f"))
    flat = mlflow_contents.contents(batch, Names(), {})
    tree = wandb_contents.contents(batch, Known())
    own = {name: key for tag, key in flat.tags.items() if (name := tag.removeprefix(TAG)) != tag}
    mlflow = [(own.get(row.key, row.key), row.step, row.ts, row.value) for row in flat.metrics]
    wandb = [
        (key, int(row.values.get("gradience/step", 0)), limits.milliseconds(row.values["_timestamp"]), value)
        for row in tree.rows
        for key, value in row.values.items()
        if key not in ("gradience/step", "_timestamp") and math.isfinite(value)
    ]
    assert [(key.removeprefix("metrics/"), *rest) for key, *rest in wandb] == [
        (key.removeprefix("metrics/"), *rest) for key, *rest in mlflow
    ]
    told = _tags({key: value for key, value in tree.told.items() if key not in ("run_id", "cursor", "status")})
    assert {legal(key): value for key, value in told} == {
        key: value for key, value in flat.tags.items() if not key.startswith(TAG)
    }
