"""What replaying a journal into W&B offline costs, against a bare loop of `run.log` with the same keys.

Run it by itself: `python -m tests.benchmarks.bench_wandb [--fast]`. Both begin their own wandb-core, and both are timed
until the last row is on disk. Everything goes to a temporary folder.
"""

import argparse
import os
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from gradience.mirror import environment
from gradience.mirror.cursor import Delivery
from gradience.mirror.sync import sync
from gradience.testing import samples
from tests.benchmarks.rounds import interleaved, ratio

BAR = 1.25  # times the time of the bare loop
STEPS = 20_000
ROUNDS = 5


def main() -> int:
    """Print the table; the exit code is 1 when the bar is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fast", action="store_true", help="a quarter of the steps")
    steps = STEPS // (4 if arguments.parse_args().fast else 1)
    with tempfile.TemporaryDirectory() as folder:
        return 0 if compare(Path(folder), steps) else 1


def compare(folder: Path, steps: int) -> bool:
    """Replay a journal and log the same rows by hand, in turn, each time into a run of its own."""
    from gradience_wandb import WandbSink

    environment.enter({**WandbSink.process_env, **_homes(folder), "WANDB_MODE": "offline"})
    journal = samples.write(folder / "run.jsonl", (_line(step) for step in range(1, steps + 1)))
    turns = count()

    def replay() -> None:
        os.environ["WANDB_DIR"] = str(folder / f"replay-{next(turns)}")
        outcome = sync(journal, WandbSink(), state_dir=folder / f"state-{next(turns)}")
        if (outcome.state, outcome.sent) != (Delivery.UP_TO_DATE, steps):
            raise RuntimeError(f"the journal did not arrive: {outcome}")

    taken = interleaved({"a bare loop of run.log": lambda: _by_hand(folder, steps), "gradience sync": replay}, ROUNDS)
    print(f"{steps} train_steps of 4 metrics into W&B offline, {ROUNDS} rounds in turn")
    for name, timing in taken.items():
        print(f"  {name:<30}{timing.median:8.2f} s{steps / timing.median:10.0f} rows/s")
    by_hand, ours = taken.values()
    is_met = ours.median <= BAR * by_hand.median
    print(f"  {ratio(ours, by_hand)}; the bar is {BAR}x: {'met' if is_met else 'MISSED'}")
    return is_met


def _by_hand(folder: Path, steps: int) -> None:
    import wandb

    quiet = wandb.Settings(
        console="off",
        silent=True,
        quiet=True,
        label_disable=True,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    os.environ["WANDB_DIR"] = str(folder / "by-hand")
    run = wandb.init(project="p", settings=quiet)
    for key in _numbers(1):
        run.define_metric(f"train/{key}", step_metric="gradience/step")
    for step in range(1, steps + 1):
        row = {f"train/{key}": value for key, value in _numbers(step).items()}
        run.log({**row, "gradience/step": step, "_timestamp": samples.STARTED + step}, step=step, commit=True)
    run.finish()
    wandb.teardown()


def _numbers(step: int) -> dict[str, float]:
    return {"loss": 2.0 + 1 / step, "lr": 1e-4 * step, "grad_norm": 1.0 + step % 7, "tokens": float(step * 512)}


def _line(step: int) -> bytes:
    numbers: dict[str, Any] = _numbers(step)
    return samples.line("bench", "train_step", ts=samples.STARTED + step, step=step, **numbers)


def _homes(folder: Path) -> dict[str, str]:
    return {name: str(folder) for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}


if __name__ == "__main__":
    sys.exit(main())
