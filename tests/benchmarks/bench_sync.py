"""What catching MLflow up costs, against `mlflow.log_metrics` per step and against hand-written `log_batch` calls.

Run it by itself: `python tests/benchmarks/bench_sync.py [--fast]`. It writes its stores to a temporary folder, and
serves one of them on loopback.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import truediv
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

from gradience.mirror import environment
from gradience.mirror.cursor import Delivery
from gradience.mirror.sync import sync
from gradience.vnext import codec

PER_STEP_BAR = 10.0  # times as fast as mlflow.log_metrics per step
BATCH_BAR = 1.15  # times the time of hand-written log_batch calls

TURN = 2000  # steps; then the other methods take theirs, so that a busy moment hits all of them alike
SAMPLE = 10  # steps by log_metrics in each turn: all of them would take an hour
REQUEST = 1000  # metrics in one hand-written call: the most that MLflow takes
STARTED = 1_764_000_000.0
READY_S = 180.0
WARM_S = 15.0  # a server answers long before all its processes have started


def main() -> int:
    """Print the tables; the exit code is 1 when a bar is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fast", action="store_true", help="a fifth of the events")
    steps = 100_000 // (5 if arguments.parse_args().fast else 1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        database = f"sqlite:///{folder}/mlflow.db"
        verdicts = [compare("an sqlite file", database, Path(folder) / "file.jsonl", steps)]
        with serving(Path(folder), database) as address:
            verdicts.append(compare("a loopback server", address, Path(folder) / "server.jsonl", steps))
    return 0 if all(verdicts) else 1


def compare(what: str, uri: str, journal: Path, steps: int) -> bool:
    """Sync a journal; after every few batches of it, the other two methods take their turns."""
    from gradience_mlflow import MLflowSink

    environment.enter(MLflowSink.process_env)
    others = Others(uri, steps)
    write_run(journal, steps)
    turns = Turns(others)
    outcome = sync(journal, MLflowSink(tracking_uri=uri), patience_s=None, progress=turns.progress)
    others.end()
    if (outcome.state, outcome.sent) != (Delivery.UP_TO_DATE, steps):
        raise RuntimeError(f"the journal did not arrive: {outcome}")
    per_step_s, by_hand_s, synced_s = sum(others.per_step_s) / SAMPLE * TURN, sum(others.by_hand_s), sum(turns.synced_s)
    print(f"{steps} train_steps of 3 metrics into {what}; {len(turns.synced_s)} turns of each method")
    scaled = f"mlflow.log_metrics per step (of {len(turns.synced_s) * SAMPLE}, scaled)"
    for name, taken in {scaled: per_step_s, "log_batch by hand": by_hand_s, "gradience sync": synced_s}.items():
        print(f"  {name:<50}{taken:8.1f} s{steps * 3 / taken:10.0f} metrics/s")
    ratio = median(map(truediv, turns.synced_s, others.by_hand_s))
    print(f"  {'the first turn, which finds the tracked run:':<50}{turns.synced_s[0] / others.by_hand_s[0]:8.2f} x")
    fast = told("times as fast as log_metrics", per_step_s / synced_s, PER_STEP_BAR, is_floor=True)
    return told("times the time of log_batch by hand, median", ratio, BATCH_BAR) and fast


class Others:
    """The two ways to log the same numbers by hand, each into a run of its own; seconds of each turn."""

    def __init__(self, uri: str, steps: int) -> None:
        import mlflow
        from mlflow.entities import Metric

        mlflow.set_tracking_uri(uri)
        mlflow.start_run()
        self._log_metrics = mlflow.log_metrics
        self._client = mlflow.MlflowClient(uri)
        self._run_id = self._client.create_run("0").info.run_id
        self._metric = Metric
        self._steps = steps
        self._step = 0
        self.by_hand_s: list[float] = []
        self.per_step_s: list[float] = []

    def take_turn(self) -> None:
        """Log the next steps by log_batch, and a sample of them by log_metrics."""
        self.by_hand_s.append(seconds(self._by_hand))
        self.per_step_s.append(seconds(self._per_step))
        self._step += TURN

    def end(self) -> None:
        """Leave no run active."""
        import mlflow

        mlflow.end_run()

    def _by_hand(self) -> None:
        metrics = []
        for step in range(self._step, self._step + TURN):
            ts = int((STARTED + step) * 1000)
            for key, value in numbers(step, self._steps).items():
                metrics.append(self._metric(f"train/{key}", value, ts, step))
                if len(metrics) == REQUEST:
                    self._client.log_batch(self._run_id, metrics=metrics)
                    metrics = []
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)

    def _per_step(self) -> None:
        for step in range(self._step, self._step + SAMPLE):
            self._log_metrics({f"train/{key}": value for key, value in numbers(step, self._steps).items()}, step=step)


class Turns:
    """Gives the others their turn when another part of the journal has arrived; seconds of each part."""

    def __init__(self, others: Others) -> None:
        self._others = others
        self._next = TURN
        self._began = time.perf_counter()
        self.synced_s: list[float] = []

    def progress(self, line: int) -> None:
        """A line was passed."""
        if line >= self._next:
            self.synced_s.append(time.perf_counter() - self._began)
            self._others.take_turn()
            self._next += TURN
            self._began = time.perf_counter()


def seconds(act: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def numbers(step: int, steps: int) -> dict[str, float]:
    """What a step logs."""
    return {"loss": 2.0 + 1 / (step + 1), "lr": 5e-5 * (1 - step / steps), "grad_norm": 0.7 + step / 1e6}


def write_run(path: Path, steps: int) -> None:
    """A journal of nothing but train steps."""
    encoder = codec.Encoder()
    with path.open("wb") as stream:
        for step in range(steps):
            stream.write(encoder.event(STARTED + step, path.stem, "train_step", step, numbers(step, steps)))


@contextmanager
def serving(folder: Path, database: str) -> Iterator[str]:
    """A real server on loopback, killed with its workers at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    command += ["--workers", "1", "--backend-store-uri", database]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(f"{address}/health")
        time.sleep(WARM_S)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(page: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with suppress(URLError, OSError), urlopen(page, timeout=5) as answer:  # noqa: S310 - our own loopback address
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"no server at {page}")


def told(what: str, value: float, bar: float, *, is_floor: bool = False) -> bool:
    """Print a measurement beside its bar; whether it is met."""
    is_met = value >= bar if is_floor else value <= bar
    relation = "at least" if is_floor else "at most"
    print(f"  {what + ':':<50}{value:8.2f} x ({relation} {bar:g}: {'met' if is_met else 'MISSED'})")
    return is_met


if __name__ == "__main__":
    sys.exit(main())
