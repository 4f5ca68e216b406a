"""The loopback double of W&B's service: wandb itself takes it for the real one, and its faults are what they say."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integrations.wandb_double import faults, server
from tests.integrations.wandb_double.faults import Fault
from tests.integrations.wandb_double.held import Alert, TrackedRun
from tests.integrations.wandb_double.server import Server

HEAD: Final = """
import json, pathlib, sys, wandb

def begin():
    settings = wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True)
    return wandb.init(project="sft", entity="me", id="r1", resume="allow", settings=settings)
"""
RECORDING: Final = """
run = begin()
run.config.update({"gradience": {"run_id": "x-1"}})
for step in range(1, 6):
    run.log({"train/loss": 1.0 / step, "grad_norm": float("nan")}, step=step, commit=True)
run.log({"modules": wandb.Table(columns=["name", "rank"], data=[["q_proj", 4]])}, step=6, commit=True)
run.summary["verdict"] = "fine"
pathlib.Path("audit.json").write_text("{}")
audit = wandb.Artifact("audit", "audit")
audit.add_file("audit.json")
run.log_artifact(audit)
run.alert(title="spike", text="at step 3", level=wandb.AlertLevel.WARN)
run.tags += ("mine",)
run.finish()

run = begin()
at = run.starting_step
run.log({"train/loss": 0.1}, step=at, commit=True)
run.finish(exit_code=1)
print(json.dumps([at, run.resumed, list(run.tags)]))
"""
READING: Final = """
api = wandb.Api(timeout=5)
run = api.run("me/sft/r1")
ids = lambda **filters: [found.id for found in api.runs("me/sft", filters=filters)]
rows = list(run.scan_history(keys=["_step", "train/loss"]))
print(json.dumps({
    "last": run.lastHistoryStep, "state": run.state, "tags": run.tags, "config": run.config,
    "verdict": run.summary["verdict"], "losses": {row["_step"]: row["train/loss"] for row in rows},
    "whole": len(list(run.scan_history())), "artifacts": sorted(one.name for one in run.logged_artifacts()),
    "audit": pathlib.Path(api.artifact("me/sft/audit:latest").download("back"), "audit.json").read_text(),
    "by run_id": ids(**{"config.gradience.run_id": "x-1"}), "by tag": ids(tags={"$in": ["mine"]}),
    "by another tag": ids(tags="yours"),
}))
run.tags.append("late")
run.update()
run.summary["late"] = 1
run.summary.update()
"""
DELETING: Final = """
wandb.Api(timeout=5).run("me/sft/r1").delete()
"""


@pytest.fixture
def wandb_server() -> Iterator[Server]:
    """A server of the test's own, of which no thread is left."""
    before = set(threading.enumerate())
    with server.serving() as serving:
        yield serving
    assert set(threading.enumerate()) <= before


def told(wandb_server: Server, home: Path, program: str) -> Any:
    """What a program with wandb prints, as JSON."""
    command = [sys.executable, "-c", HEAD + program]
    env = wandb_server.env(home)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home, env=env, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


@pytest.mark.slow
def test_wandb_takes_it_for_the_real_one(wandb_server: Server, tmp_path: Path) -> None:
    """A whole run is recorded, resumed, read back through the public API, changed there, and deleted."""
    pytest.importorskip("wandb")
    assert told(wandb_server, tmp_path, RECORDING) == [7, True, ["mine"]]
    run = wandb_server.runs["r1"]
    assert run.sent == Counter(range(1, 8))
    assert [len(rows) for rows in run.rows.values()] == [1] * 7
    assert run.alerts == [Alert(title="spike", text="at step 3", severity="WARN")]
    assert (run.state, run.exit_code, run.states) == ("failed", 1, ["finished", "running", "failed"])
    assert told(wandb_server, tmp_path, READING) == {
        "last": 7,
        "state": "failed",
        "tags": ["mine"],
        "config": {"gradience": {"run_id": "x-1"}},
        "verdict": "fine",
        "losses": {**{str(step): 1.0 / step for step in range(1, 6)}, "7": 0.1},
        "whole": 7,
        "artifacts": ["audit:v0", "run-r1-modules:v0"],
        "audit": "{}",
        "by run_id": ["r1"],
        "by tag": ["r1"],
        "by another tag": [],
    }
    assert (run.tags, run.summary["late"], run.state) == (["mine", "late"], 1, "failed")
    told(wandb_server, tmp_path, DELETING)
    assert wandb_server.runs == {}


def ask(wandb_server: Server, path: str, body: object, timeout_s: float = 5.0) -> tuple[int, str | None, Any]:
    """The status, `Retry-After` and content of an answer."""
    connection = HTTPConnection("127.0.0.1", wandb_server.port, timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.headers["Retry-After"], json.loads(answer.read())
    finally:
        connection.close()


VIEWER: Final = {"query": "query Viewer { viewer { id } }"}
STREAM: Final = "/files/me/sft/r1/file_stream"


def lines(offset: int, *steps: int) -> dict[str, Any]:
    """A part of a history, as wandb-core sends it."""
    rows = [json.dumps({"_step": step}, separators=(",", ":")) for step in steps]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": rows}}}


@pytest.fixture
def stream(wandb_server: Server) -> TrackedRun:
    """A run without a row."""
    made = TrackedRun(entity="me", project="sft", id="r1", created=0)
    wandb_server.held.put(made)
    return made


def test_a_row_that_comes_twice_is_told_from_one_that_is_sent_again(wandb_server: Server, stream: TrackedRun) -> None:
    """What is sent again to its line replaces itself; what is appended once more stands twice."""
    ask(wandb_server, STREAM, lines(0, 1, 2))
    ask(wandb_server, STREAM, lines(1, 2))
    assert stream.sent == {1: 1, 2: 2}
    assert [len(rows) for rows in stream.rows.values()] == [1, 1]
    ask(wandb_server, STREAM, lines(2, 2))
    assert {step: len(rows) for step, rows in stream.rows.items()} == {1: 1, 2: 2}


def test_an_id_names_one_run_in_each_project(wandb_server: Server, stream: TrackedRun) -> None:
    """Rows and deletions of one leave the other alone, as in W&B."""
    variables = {"entity": "me", "project": "dpo", "name": "r1"}
    for _ in range(2):  # the second finds what the first has made
        upsert = {"query": "mutation UpsertBucket {}", "variables": variables}
        assert ask(wandb_server, "/graphql", upsert)[0] == 200
    ask(wandb_server, "/files/me/dpo/r1/file_stream", lines(0, 1))
    wandb_server.held.delete(stream.path)
    assert (ask(wandb_server, STREAM, lines(0, 1))[0], stream.lines) == (404, {})
    assert {path: run.rows.keys() for path, run in wandb_server.held.runs.items()} == {"me/dpo/r1": {1}}
    gone = {**variables, "project": "sft"}
    assert ask(wandb_server, "/graphql", {"query": "mutation UpsertBucket {}", "variables": gone})[0] == 409


def test_an_alert_may_come_too_soon_after_another_of_its_title(wandb_server: Server, stream: TrackedRun) -> None:
    """How soon that is, the client says, in milliseconds."""
    place = {"entityName": "me", "projectName": "sft", "runName": "r1"}
    for title, wait_ms in (("a", 1), ("a", 3_600_000), ("b", 3_600_000)):
        variables = {**place, "title": title, "text": "", "waitDuration": wait_ms}
        ask(wandb_server, "/graphql", {"query": "mutation NotifyScriptableRunAlert {}", "variables": variables})
    assert [alert.title for alert in stream.alerts] == ["a", "b"]


def test_a_refusal_is_for_one_operation_so_many_times(wandb_server: Server) -> None:
    """With `Retry-After` where it says so, and counted."""
    wandb_server.faults.set(faults.status(429, retry_after_s=7), "Viewer", times=1)
    assert ask(wandb_server, "/graphql", VIEWER)[:2] == (429, "7")
    assert ask(wandb_server, "/graphql", VIEWER)[0] == 200
    assert wandb_server.faults.hits == {"Viewer": 1}


def test_one_step_of_a_history_may_be_poison(wandb_server: Server, stream: TrackedRun) -> None:
    """What holds it is refused, the rest is taken."""
    wandb_server.faults.set(faults.poison(413, step=2), "file_stream")
    assert [ask(wandb_server, STREAM, lines(step, step))[0] for step in (1, 2, 22)] == [200, 413, 200]
    assert stream.rows.keys() == {1, 22}


@pytest.mark.parametrize(("fault", "rows"), [(faults.LOST, 1), (faults.CLOSE, 0)])
def test_a_cut_comes_before_or_after_the_effect(
    wandb_server: Server, stream: TrackedRun, fault: Fault, rows: int
) -> None:
    """The client sees the same, the run does not."""
    wandb_server.faults.set(fault, "file_stream")
    with pytest.raises(ConnectionError):
        ask(wandb_server, STREAM, lines(0, 1))
    assert len(stream.lines) == rows


def test_what_hangs_is_cut_when_the_fault_is_cleared(wandb_server: Server) -> None:
    """Until then nothing comes."""
    wandb_server.faults.set(faults.HANG)
    with pytest.raises(TimeoutError):
        ask(wandb_server, "/graphql", VIEWER, timeout_s=0.2)
    wandb_server.faults.clear()
    assert ask(wandb_server, "/graphql", VIEWER)[0] == 200


def test_a_delay_only_takes_its_time(wandb_server: Server) -> None:
    """The answer is the usual one."""
    wandb_server.faults.set(faults.delay(0.2), "Viewer")
    began = time.monotonic()
    assert ask(wandb_server, "/graphql", VIEWER)[2]["data"]["viewer"]["id"] == "u"
    assert time.monotonic() - began > 0.2


def test_it_comes_back_at_its_port_with_what_it_holds(wandb_server: Server, stream: TrackedRun) -> None:
    """While it does not listen, connections are refused."""
    ask(wandb_server, STREAM, lines(0, 1))
    wandb_server.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(wandb_server, STREAM, lines(1, 2))
    wandb_server.listen()
    ask(wandb_server, STREAM, lines(1, 2))
    assert wandb_server.runs["r1"].rows.keys() == {1, 2}
    assert stream.last_step == 2
