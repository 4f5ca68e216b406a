"""A run full of planted secrets, mirrored with credentials through every door, in vain and with success.

Afterwards no file that was made, no line that was said and no command line has any of them.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from gradience.mirror.fleet import standing
from gradience.vnext import lock
from tests.integrations.faults.server import Server as Tracker
from tests.integrations.faults.server import free_port
from tests.integrations.wandb_double.server import Server

pytest.importorskip("mlflow")
pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

PLANTED = {  # shorter than 8 characters they would be any word
    "user": "planted-user-1f",
    "password": "planted-password-2e",
    "token": "planted-token-3d",
    "key": "planted0key0of0forty0characters0000004c4c"[:40],
    "hub": "planted-hub-5b",
    "argument": "planted-argument-6a",
    "remote": "planted-remote-79",
    "bearer": "planted-bearer-88",
}
RECORDER = """
import json, logging, os, sys
from gradience.vnext.telemetry import TelemetryWriter

os.umask(0)
logging.basicConfig(level=logging.DEBUG)
planted = json.loads(sys.stdin.read())
leaky = {"type": "leaky:Leaky", "address": os.environ["DEAD_MLFLOW"], "password": planted["token"]}
mlflow = {"type": "mlflow", "tracking_uri": os.environ["DEAD_MLFLOW"]}
sinks = [mlflow, leaky, {"type": "gradience_wandb:WandbSink"}]
with TelemetryWriter("run.jsonl", "r", sinks=sinks, close_timeout_s=4.0) as writer:
    config = {"model_name": "m", "notes": "see " + planted["key"], "extras": {"hub_token": planted["hub"]}}
    argv = ["train.py", "--api-key", planted["argument"], "--url", f"s3://x:{planted['password']}@y"]
    remote = f"https://me:{planted['remote']}@git.example/x"
    writer.run_start(config, meta={"argv": argv, "git": {"remote": remote}, "command": "x --token " + planted["token"]})
    writer.train_step(1, loss=1.0, note=f"Authorization: Bearer {planted['bearer']}")
    where = f"https://{planted['user']}:{planted['password']}@hub.example"
    writer.alert(severity="error", code="PLANTED", message=f"cannot push to {where}")
"""
LEAKY = """
import logging, os
from gradience.errors import RejectedError
from gradience.testing import MemorySink
from gradience.vnext.types import Alert

class Leaky(MemorySink):
    "A sink of somebody who never thought of secrets."
    name = "leaky"

    def __init__(self, *, address: str = os.environ["DEAD_MLFLOW"], password: str = ""):
        super().__init__()
        self.address, self.password = address, password

    def probe(self, timeout_s):
        return f"{self.address} answers {self.password}"

    def open(self, run):
        print(f"GET {self.address}", flush=True)
        logging.getLogger("leaky").warning("the password is %s at %s", self.password, self.address)
        return super().open(run)

    def deliver(self, batch):
        if any(isinstance(record.event, Alert) for record in batch.records):
            raise RejectedError(f"{self.address} takes no alerts from {self.password}")
        super().deliver(batch)

    def close(self, status, timeout_s):
        raise RuntimeError(f"no good-bye from {self.address}")
"""
SINKS = """
- type: leaky:Leaky
  password: ${DEAD_MLFLOW}
- type: mlflow
  tracking_uri: ${DEAD_MLFLOW}
- type: gradience_wandb:WandbSink
  mode: ${MODE:-online}
"""


class Place:
    """A folder to work in, and everything that is said there."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.said = ""

    def run(self, *command: str, told: str = "", **env: str) -> int:
        """Run a Python program; its exit code."""
        done = subprocess.run(
            [sys.executable, *command], cwd=self.folder, env={**self.env, **env}, input=told,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        self.said += done.stdout
        return done.returncode

    def gradience(self, *arguments: str, **env: str) -> int:
        """Run the command."""
        return self.run("-m", "gradience", *arguments, **env)


@pytest.fixture
def double() -> Iterator[Server]:
    """W&B on loopback."""
    with closing(Server()) as server:
        yield server


@contextmanager
def watched() -> Iterator[set[str]]:
    """The command lines of every process meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(place.read_bytes().decode("utf-8", "replace"))

    thread = threading.Thread(target=watch, name="ps")
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_no_secret_is_left_anywhere(tracker: Tracker, double: Server, tmp_path: Path) -> None:
    """Not in the journal, cursors, logs, dead letters or trackers, not in what is said, and not in `ps`."""
    home = tmp_path / "home"
    home.mkdir()
    signed = f"://{PLANTED['user']}:{PLANTED['password']}@"
    dead, alive = (address.replace("://", signed) for address in (f"http://127.0.0.1:{free_port()}", tracker.address))
    env = {**double.env(home), "WANDB_API_KEY": PLANTED["key"], "WANDB_PROJECT": "sft", "MLFLOW_DISABLE_TELEMETRY": "1"}
    path = os.pathsep.join([str(tmp_path), env.get("PYTHONPATH", "")])
    place = Place(tmp_path, {**env, "DEAD_MLFLOW": dead, "PYTHONPATH": path})
    (tmp_path / "sinks.yaml").write_text(SINKS)
    (tmp_path / "leaky.py").write_text(LEAKY)
    with watched() as commands:
        assert place.run("-c", RECORDER, told=json.dumps(PLANTED)) == 0, place.said
        assert place.gradience("sinks", "check", "--sinks", "sinks.yaml", "--timeout", "20") == 4
        assert place.gradience("sync", "run.jsonl", "--sinks", "sinks.yaml", "--deadline", "3") == 4
        assert place.gradience("sync", "run.jsonl", "--to", "mlflow", MLFLOW_TRACKING_URI=alive) == 0
        assert place.gradience("sync", "run.jsonl", "--to", "leaky:Leaky", "--from-start") == 0
        assert place.gradience("sync", "run.jsonl", "--status") == 4
    until(lambda: "r" in double.runs and not _behind(tmp_path))
    _end_sidecars(tmp_path / "run.jsonl.gradience")
    trackers = {"W&B": repr(double.runs), "MLflow": tracker.database.read_bytes().decode("latin-1")}
    found = {f"ps: {line}": line for line in commands} | {"output": place.said, **trackers, **_files(tmp_path)}
    assert {name: word for name, text in found.items() for word in PLANTED.values() if word in text} == {}
    assert "[REDACTED]" in (tmp_path / "run.jsonl").read_text()
    assert "catch up with: gradience sync" in place.said
    assert '"model_name": {"value": "m"}' in json.dumps(double.runs["r"].config)
    _check_modes(tmp_path / "run.jsonl.gradience")


def _files(folder: Path) -> dict[str, str]:
    """The contents of every file that was made."""
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file()
    }


def _behind(folder: Path) -> bool:
    """Whether the side-car of W&B has something left to do."""
    rows = standing.standings(folder / "run.jsonl")
    return any(row.behind for row in rows if row.sink == "wandb") or not any(row.sink == "wandb" for row in rows)


def _end_sidecars(folder: Path) -> None:
    """That of MLflow would wait for its server for minutes."""
    for place in folder.glob("*.lock"):
        holder = lock.holder(place)
        if holder is not None:
            os.kill(holder.pid, signal.SIGKILL)


def _check_modes(folder: Path) -> None:
    """Cursors, logs and dead letters are for their owner, although the recorder's umask let everybody in."""
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = [path for path in folder.iterdir() if path.suffix != ".lock"]
    assert {path.suffix for path in kept} >= {".json", ".jsonl", ".log"}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in kept if path.stat().st_mode & 0o077} == {}


def until(done: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.05)
