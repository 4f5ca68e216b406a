"""A training with MLflow logging of its own, with or without a mirror into the same store.

Run as a program: the store's address, the number of steps, and the journal of a recorder, if there is to be one.
"""

import sys
import time
from contextlib import ExitStack
from typing import Final

import mlflow
import msgspec

from gradience.vnext.telemetry import TelemetryWriter

PAUSE_S: Final = 0.02


class Felt(msgspec.Struct, frozen=True):
    """What the user's own logging went through, in seconds; `run` is their run."""

    run: str
    slowest_s: float
    median_s: float
    append_s: float


def main(uri: str, steps: int, journal: str | None) -> Felt:
    """Train."""
    mlflow.set_tracking_uri(uri)
    own, ours = [], [0.0]
    with ExitStack() as stack:
        run = stack.enter_context(mlflow.start_run())
        writer = stack.enter_context(TelemetryWriter(journal, sinks=["mlflow"])) if journal else None
        if writer is not None:
            writer.run_start({"model_name": "m"})
        for step in range(1, steps + 1):
            began = time.perf_counter()
            mlflow.log_metrics({"loss": 1.0, "grad_norm": 2.0}, step=step)
            own.append(time.perf_counter() - began)
            if writer is not None:
                began = time.perf_counter()
                writer.train_step(step, loss=1.0)
                ours.append(time.perf_counter() - began)
            time.sleep(PAUSE_S)
    return Felt(run.info.run_id, max(own), sorted(own)[len(own) // 2], max(ours))


if __name__ == "__main__":
    felt = main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    sys.stdout.write(msgspec.json.encode(felt).decode())
