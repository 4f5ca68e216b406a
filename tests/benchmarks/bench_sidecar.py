"""What a live mirror costs a training: steps with and without one, interleaved, on one torch thread.

Run it as a program: `python tests/benchmarks/bench_sidecar.py`. The side-car delivers to MLflow in a fresh sqlite
store; while a block without it is timed, it is stopped by a signal. The recorder's thread that looks at it twice a
second stays in both. Exits with 1 when a bar is not met.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from gradience_mlflow import MLflowSink

from gradience.mirror.cursor import CursorFile
from gradience.vnext import lock
from gradience.vnext.telemetry import TelemetryWriter

RATIO_BAR = 1.03
APPEND_BAR_MS = 5.0  # 99.9th percentile
ROUNDS = 24
STEPS = 400  # in a block
SIZE = 320  # of the matrices: a step of a millisecond, more often than any training records one


class Block:
    """The seconds of one block's steps, and of the recording in each."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.appends: list[float] = []

    def run(self, writer: TelemetryWriter, matrix: torch.Tensor) -> None:
        """Train and record."""
        for step in range(STEPS):
            began = time.perf_counter()
            loss = (matrix @ matrix).sum().item()
            trained = time.perf_counter()
            writer.train_step(step, loss=loss, lr=1e-4, grad_norm=1.0)
            ended = time.perf_counter()
            self.steps.append(ended - began)
            self.appends.append(ended - trained)


def main() -> int:
    """Print the comparison."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> int:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    plain = TelemetryWriter(folder / "plain.jsonl")
    live = TelemetryWriter(folder / "live.jsonl", sinks=[{"type": "mlflow", "tracking_uri": uri}], close_timeout_s=120)
    store = CursorFile(live.path, "mlflow", MLflowSink(tracking_uri=uri).target)
    begin_s, sidecar = _start(live, store)
    without, with_sink = Block(), Block()
    matrix = torch.rand(SIZE, SIZE)
    for number in range(ROUNDS):
        for is_live in ((False, True), (True, False))[number % 2]:
            os.kill(sidecar, signal.SIGCONT if is_live else signal.SIGSTOP)
            (with_sink if is_live else without).run(live if is_live else plain, matrix)
    os.kill(sidecar, signal.SIGCONT)
    memory = subprocess.run(["ps", "-o", "rss=", "-p", str(sidecar)], capture_output=True, text=True, check=True).stdout
    began = time.perf_counter()
    live.close()
    plain.close()
    print(f"close, with everything delivered       {time.perf_counter() - began:7.2f} s")
    print(f"memory of the side-car (RSS)           {int(memory) / 1024:7.0f} MiB")
    return _judge(without, with_sink, begin_s)


def _start(writer: TelemetryWriter, store: CursorFile) -> tuple[float, int]:
    """How long the first event took, and the side-car's pid, once its first line is delivered."""
    began = time.perf_counter()
    writer.run_start({"model_name": "bench"})
    first_s = time.perf_counter() - began
    while (cursor := store.load()) is None or not cursor.line:
        time.sleep(0.01)
    print(f"first line in MLflow, store and all    {time.perf_counter() - began:7.2f} s")
    holder = lock.holder(store.lock)
    assert holder is not None
    return first_s, holder.pid


def _judge(without: Block, with_sink: Block, begin_s: float) -> int:
    ratio = statistics.median(with_sink.steps) / statistics.median(without.steps)
    tail_ms, floor_ms = (statistics.quantiles(block.appends, n=1000)[-1] * 1e3 for block in (with_sink, without))
    print(f"first event, which starts the side-car {begin_s * 1e3:7.2f} ms")
    for name, block in (("without", without), ("with", with_sink)):
        step, append = statistics.median(block.steps) * 1e3, statistics.median(block.appends) * 1e6
        longest = max(block.appends) * 1e3
        print(f"{name:>8} a live sink: step {step:6.3f} ms, append {append:5.1f} us, longest {longest:6.2f} ms")
    print(f"step with a live sink: {ratio:.4f}x of one without (bar {RATIO_BAR}x), {len(with_sink.steps)} steps each")
    print(f"append, 99.9th percentile: {tail_ms:.3f} ms, without a sink {floor_ms:.3f} ms (bar {APPEND_BAR_MS} ms)")
    return int(ratio > RATIO_BAR or tail_ms > APPEND_BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
