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
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from gradience.mirror.cursor import Delivery
from gradience.mirror.sync import sync
from gradience.vnext import codec

PER_STEP_BAR = 10.0  # times as fast as mlflow.log_metrics per step
BATCH_BAR = 1.15  # times the time of hand-written log_batch calls

ROUNDS = 10  # the methods take turns this often, so that a busy moment hits them alike
SAMPLE = 50  # steps by log_metrics in each turn: all of them would take an hour
REQUEST = 1000  # metrics in one hand-written call: the most that MLflow takes
STARTED = 1_764_000_000.0
READY_S = 180.0


def main() -> int:
    """Print the tables; the exit code is 1 when a bar is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fast", action="store_true", help="a tenth of the events")
    steps = 100_000 // (10 if arguments.parse_args().fast else 1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        database = f"sqlite:///{folder}/mlflow.db"
        verdicts = [compare("an sqlite file", database, Path(folder) / "file.jsonl", steps)]
        with serving(Path(folder), database) as address:
            verdicts.append(compare("a loopback server", address, Path(folder) / "server.jsonl", steps))
    return 0 if all(verdicts) else 1


def compare(what: str, uri: str, journal: Path, steps: int) -> bool:
    """Sync a journal; after every tenth of it, the other two methods take their turns."""
    from gradience_mlflow import MLflowSink

    os.environ.update(MLflowSink.process_env)
    others = Others(uri, steps)
    write_run(journal, steps)
    turns = Turns(steps // ROUNDS, others.take_turn)
    began = time.perf_counter()
    outcome = sync(journal, MLflowSink(tracking_uri=uri), patience_s=None, progress=turns.progress)
    synced_s = time.perf_counter() - began - turns.others_s
    if (outcome.state, outcome.sent) != (Delivery.UP_TO_DATE, steps):
        raise RuntimeError(f"the journal did not arrive: {outcome}")
    per_step_s = others.per_step_s * steps / others.sampled
    print(f"{steps} train_steps of 3 metrics into {what}; {ROUNDS} turns of each method")
    scaled = f"mlflow.log_metrics per step (of {others.sampled})"
    for name, taken in {scaled: per_step_s, "log_batch by hand": others.by_hand_s, "gradience sync": synced_s}.items():
        print(f"  {name:<44}{taken:8.1f} s{steps * 3 / taken:10.0f} metrics/s")
    fast = told("times as fast as log_metrics", per_step_s / synced_s, PER_STEP_BAR, is_floor=True)
    return told("times the time of log_batch by hand", synced_s / others.by_hand_s, BATCH_BAR) and fast


class Others:
    """The two ways to log the same numbers by hand, each into a run of its own."""

    def __init__(self, uri: str, steps: int) -> None:
        import mlflow
        from mlflow.entities import Metric

        mlflow.set_tracking_uri(uri)
        mlflow.log_metrics({"warm": 1.0})
        self._log_metrics = mlflow.log_metrics
        self._client = mlflow.MlflowClient(uri)
        self._run_id = self._client.create_run("0").info.run_id
        self._metric = Metric
        self._steps = steps
        self._step = self.sampled = 0
        self.by_hand_s = self.per_step_s = 0.0
        mlflow.end_run()
        mlflow.start_run()

    def take_turn(self) -> None:
        """Log the next tenth by log_batch, and a sample of it by log_metrics."""
        began = time.perf_counter()
        self._by_hand(range(self._step, self._step + self._steps // ROUNDS))
        self.by_hand_s += time.perf_counter() - began
        began = time.perf_counter()
        for step in range(self._step, self._step + SAMPLE):
            self._log_metrics({f"train/{key}": value for key, value in numbers(step, self._steps).items()}, step=step)
        self.per_step_s += time.perf_counter() - began
        self.sampled += SAMPLE
        self._step += self._steps // ROUNDS

    def _by_hand(self, steps: range) -> None:
        metrics = []
        for step in steps:
            ts = int((STARTED + step) * 1000)
            for key, value in numbers(step, self._steps).items():
                metrics.append(self._metric(f"train/{key}", value, ts, step))
                if len(metrics) == REQUEST:
                    self._client.log_batch(self._run_id, metrics=metrics)
                    metrics = []
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)


class Turns:
    """Gives the others their turn when another part of the journal has arrived."""

    def __init__(self, part: int, take_turn: Callable[[], None]) -> None:
        self._part = part
        self._take_turn = take_turn
        self._next = part
        self.others_s = 0.0

    def progress(self, line: int) -> None:
        """A line was passed."""
        began = time.perf_counter()
        while line >= self._next:
            self._take_turn()
            self._next += self._part
        self.others_s += time.perf_counter() - began


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
    print(f"  {what + ':':<44}{value:8.2f} x ({relation} {bar:g}: {'met' if is_met else 'MISSED'})")
    return is_met


if __name__ == "__main__":
    sys.exit(main())
