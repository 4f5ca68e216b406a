"""What recording a step costs, against the bare write of its line; what reading costs, against json.loads per line.

Run it by itself: `python tests/benchmarks/bench_telemetry.py [--fast]`. It writes its files to a temporary folder.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.vnext import codec
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader

APPEND_BAR_US = 5.0  # median of one train_step
WRITE_BAR = 4.0  # times one os.write of the encoded line
WATCH_BAR_US = 10.0  # median of one train_step that all detectors watch
READ_BAR = 4.0  # times faster than json.loads per line

STEPS = 500  # appended between two looks at the clock
RUN_ID = "3f1d0a52-1234-4c3e-9f32-9d4c7a1b2c3d"


def main() -> int:
    """Print the table; the exit code is 1 when a bar is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fast", action="store_true", help="a tenth of the events")
    share = 10 if arguments.parse_args().fast else 1
    with tempfile.TemporaryDirectory() as folder:
        verdicts = [
            compare_append(Path(folder), 400 // share),
            compare_read(Path(folder), 1_000_000 // share, rounds=3),
        ]
    return 0 if all(verdicts) else 1


def compare_append(folder: Path, rounds: int) -> bool:
    """Time train_step and the write of its line in turn, so that a busy moment hits both."""
    writer = TelemetryWriter(folder / "run.jsonl")
    writer.train_step(1, loss=2.3456, lr=5e-5, grad_norm=1.25)
    line = (folder / "run.jsonl").read_bytes()
    watched = TelemetryWriter(folder / "watched.jsonl", monitors=True)
    watched.run_start({"training": {"max_steps": 10**6}})
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def record() -> None:
        for step in range(STEPS):
            writer.train_step(step, loss=2.3456, lr=5e-5, grad_norm=1.25)

    def watch() -> None:
        for step in range(STEPS):
            watched.train_step(step, loss=2.3456, lr=5e-5, grad_norm=1.25)

    def write() -> None:
        for _ in range(STEPS):
            os.write(bare, line)

    times = interleaved({"train_step": record, "watched": watch, "write": write}, rounds, time.perf_counter)
    append_us, watch_us, write_us = (times[name] / STEPS * 1e6 for name in ("train_step", "watched", "write"))
    writer.close()
    watched.close()
    os.close(bare)
    print(f"appending a train_step, a line of {len(line)} bytes; median of {rounds} interleaved rounds of {STEPS}")
    print(f"  {'os.write of the encoded line':<44}{write_us:8.2f} us")
    print(f"  {'TelemetryWriter.train_step':<44}{append_us:8.2f} us")
    print(f"  {'the same, watched by all detectors':<44}{watch_us:8.2f} us")
    return (
        told("per train_step", append_us, APPEND_BAR_US, "us")
        & told("os.writes", append_us / write_us, WRITE_BAR, "x")
        & told("per watched train_step", watch_us, WATCH_BAR_US, "us")
    )


def compare_read(folder: Path, events: int, rounds: int) -> bool:
    """CPU time of one pass over a long run: other programs' share of the machine does not count."""
    path = folder / "long.jsonl"
    write_run(path, events)

    def by_json() -> None:
        with path.open("rb") as stream:
            for line in stream:
                json.loads(line)

    def iterate() -> None:
        for _ in TelemetryReader(path, strict=True):
            pass

    def validate() -> None:
        if TelemetryReader(path).validate():
            raise ValueError("the run should be valid")

    methods = {
        "json.loads per line": by_json,
        "iterating TelemetryReader": iterate,
        "TelemetryReader.validate, summary included": validate,
        "summary and curves": lambda: replay(path, None),
        "summary, curves and detectors, as in monitor": lambda: replay(path, Monitors),
    }
    times = interleaved(methods, rounds, time.process_time)
    print(f"reading {events} events, {path.stat().st_size / 2**20:.0f} MiB; CPU, median of {rounds} interleaved rounds")
    for name, taken in times.items():
        print(f"  {name:<44}{taken:8.2f} s{taken / events * 1e6:8.2f} us per event")
    slowest = max(taken for name, taken in times.items() if name.startswith(("iterating", "TelemetryReader")))
    return told("times as fast as json.loads", times["json.loads per line"] / slowest, READ_BAR, "x", is_floor=True)


def replay(path: Path, detectors: Callable[[], Monitors] | None) -> None:
    """What `gradience monitor` reads a run with."""
    TelemetryReader(path).watched(Replay(detectors=detectors).take)


def interleaved(methods: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each method."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            start = clock()
            method()
            times[name].append(clock() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def write_run(path: Path, events: int) -> None:
    """A run of train steps with an evaluation every thousand."""
    encoder = codec.Encoder()
    with path.open("wb") as stream:
        stream.write(encoder.event(1764000000.0, RUN_ID, "run_start", None, {"config": {"model_name": "m"}}))
        for step in range(1, events):
            ts, loss = 1764000000.0 + step / 7, 2.0 + 1 / step
            if step % 1000:
                payload = {"loss": loss, "lr": 5e-5 * (1 - step / events), "grad_norm": loss / 3, "epoch": step / 999}
                stream.write(encoder.event(ts, RUN_ID, "train_step", step, payload))
            else:
                stream.write(encoder.event(ts, RUN_ID, "eval", step, {"split": "test", "metrics": {"loss": loss}}))


def told(what: str, value: float, bar: float, unit: str, *, is_floor: bool = False) -> bool:
    """Print a measurement beside its bar; whether it is met."""
    is_met = value >= bar if is_floor else value <= bar
    relation = "at least" if is_floor else "at most"
    print(f"  {what + ':':<44}{value:8.2f} {unit} ({relation} {bar:.0f}: {'met' if is_met else 'MISSED'})")
    return is_met


if __name__ == "__main__":
    sys.exit(main())
