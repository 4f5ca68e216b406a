"""What live mirrors cost a training: steps without a sink, with one and with two, interleaved, on one torch thread.

Run it as a program: `python tests/benchmarks/bench_sidecar.py`. The side-cars deliver to MLflow in a fresh sqlite store
and to W&B offline; while a block of steps is timed, those of the other recorders are stopped by a signal. The
recorder's threads that look at them twice a second stay in all. Exits with 1 when a bar is not met.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gradience.mirror.cursor import cursors, lock_name
from gradience.vnext import lock
from gradience.vnext.telemetry import TelemetryWriter

RATIO_BAR = 1.03  # of one to none, and of two to one
APPEND_BAR_MS = 5.0  # 99.9th percentile
ROUNDS = 24
STEPS = 400  # in a block
SIZE = 320  # of the matrices: a step of a millisecond, more often than any training records one


class Arm:
    """A recorder with its sinks: the seconds of its steps, and of the recording in each."""

    def __init__(self, name: str, folder: Path, sinks: Sequence[dict[str, Any]]) -> None:
        self.name = name
        self.steps: list[float] = []
        self.blocks: list[float] = []  # the median step of each
        self.cpu: list[float] = []  # seconds of this thread for each
        self.appends: list[float] = []
        self.begin_s = 0.0
        self._writer = TelemetryWriter(folder / f"{name}.jsonl", sinks=sinks, close_timeout_s=120)
        self._sidecars = self._begin(len(sinks))

    def run(self, matrix: torch.Tensor) -> None:
        """Train and record a block, while the side-cars are at work."""
        self._signal(signal.SIGCONT)
        cpu = time.thread_time()
        for step in range(STEPS):
            began = time.perf_counter()
            loss = (matrix @ matrix).sum().item()
            trained = time.perf_counter()
            self._writer.train_step(step, loss=loss, lr=1e-4, grad_norm=1.0)
            ended = time.perf_counter()
            self.steps.append(ended - began)
            self.appends.append(ended - trained)
        self.cpu.append(time.thread_time() - cpu)
        self.blocks.append(statistics.median(self.steps[-STEPS:]))
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """Have everything delivered, and say how long that took and what the side-cars hold of memory."""
        self._signal(signal.SIGCONT)
        memory = sum(_resident_mib(pid) for pid in self._sidecars)
        began = time.perf_counter()
        self._writer.close()
        if self._sidecars:
            print(f"{self.name:>4}: close, with everything delivered  {time.perf_counter() - began:7.2f} s")
            print(f"{self.name:>4}: memory of the side-cars (RSS)     {memory:7.0f} MiB")

    def _begin(self, sinks: int) -> list[int]:
        """Start the run; the pids of the side-cars, once each has delivered its first line."""
        began = time.perf_counter()
        self._writer.run_start({"model_name": "bench"})
        self.begin_s = time.perf_counter() - began
        while sum(cursor.line > 0 for _, cursor in cursors(self._writer.path)) < sinks:
            time.sleep(0.01)
        if sinks:
            print(f"{self.name:>4}: first line in every tracker       {time.perf_counter() - began:7.2f} s")
        places = [
            place.with_name(lock_name(cursor.sink, cursor.target)) for place, cursor in cursors(self._writer.path)
        ]
        pids = [holder.pid for place in places if (holder := lock.holder(place)) is not None]
        assert len(pids) == sinks
        return pids

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._sidecars:
            os.kill(pid, number)


def main() -> int:
    """Print the comparison."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> int:
    os.environ |= {f"WANDB_{kind}": str(folder) for kind in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
    wandb = {"type": "wandb", "mode": "offline", "project": "bench"}
    one, another = [{"type": "mlflow", "tracking_uri": f"sqlite:///{folder / name}.db"} for name in ("one", "two")]
    arms = [Arm("none", folder, []), Arm("one", folder, [one]), Arm("two", folder, [another, wandb])]
    matrix = torch.rand(SIZE, SIZE)
    for number in range(ROUNDS):
        for arm in arms if number % 2 else reversed(arms):
            arm.run(matrix)
    for arm in arms:
        arm.close()
    return _judge(*arms)


def _judge(none: Arm, one: Arm, two: Arm) -> int:
    for arm in (none, one, two):
        step, append = statistics.median(arm.steps) * 1e3, statistics.median(arm.appends) * 1e6
        print(
            f"{arm.name:>4}: first event {arm.begin_s * 1e3:6.2f} ms, step {step:6.3f} ms, append {append:5.1f} us, "
            f"99.9th percentile {_tail_ms(arm):6.3f} ms, longest {max(arm.appends) * 1e3:6.2f} ms"
        )
    ratios = [_ratio(one.blocks, none.blocks), _ratio(two.blocks, one.blocks)]
    cpu = [_ratio(one.cpu, none.cpu), _ratio(two.cpu, one.cpu)]
    for what, wall, thread in zip(
        ("a live sink: {} of one without", "two: {} of one with one"), ratios, cpu, strict=True
    ):
        print(f"step with {what.format(f'{wall:.4f}x')} (bar {RATIO_BAR}x); CPU time of the thread {thread:.4f}x")
    print(f"append, 99.9th percentile of the worst: {max(map(_tail_ms, (one, two))):.3f} ms (bar {APPEND_BAR_MS} ms)")
    return int(max(ratios) > RATIO_BAR or max(map(_tail_ms, (one, two))) > APPEND_BAR_MS)


def _ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long some take: the median of the rounds, in each of which both had the same minute."""
    return statistics.median(one / other for one, other in zip(some, others, strict=True))


def _tail_ms(arm: Arm) -> float:
    return statistics.quantiles(arm.appends, n=1000)[-1] * 1e3


def _resident_mib(pid: int) -> float:
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(told) / 1024


if __name__ == "__main__":
    sys.exit(main())
