"""A training process for the fault matrix: records what it is told on stdin, and says how long that took.

Run as a program with an `Order` on its command line; each line of stdin is answered by one line.
"""

import logging
import sys
import time
from typing import Any

import msgspec

from gradience.mirror.live import recording, supervisor
from gradience.mirror.live.spec import Terms
from gradience.vnext.telemetry import TelemetryWriter


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to record into, and how patiently; `first` is the number of the first step."""

    journal: str
    run_id: str
    sinks: list[dict[str, Any]]
    terms: Terms
    close_timeout_s: float
    state_dir: str | None = None
    first: int = 1
    brisk: bool = False  # a side-car that died is back at once, for tests that kill many


class Steps(msgspec.Struct, frozen=True, tag=True):
    """Record this many steps, with a pause after each."""

    count: int
    pause_s: float = 0.0


class Close(msgspec.Struct, frozen=True, tag=True):
    """End the run."""


class Done(msgspec.Struct, frozen=True):
    """The longest call of `train_step`, or how long `close` took; and the events lost so far."""

    longest_s: float
    lost: int = 0


def main() -> None:
    """Serve stdin until it ends or the run is closed."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    _hurry(order)
    writer = TelemetryWriter(
        order.journal,
        run_id=order.run_id,
        sinks=order.sinks,
        close_timeout_s=order.close_timeout_s,
        state_dir=order.state_dir,
    )
    writer.run_start({"model_name": "m"})
    _answer(Done(0.0, writer.lost))
    _serve(writer, order.first)


def _hurry(order: Order) -> None:
    recording.TERMS = order.terms  # type: ignore[misc]
    if order.brisk:
        supervisor.BACK_OFF_S = supervisor.LONGEST_BACK_OFF_S = supervisor.LOOK_S = 0.05  # type: ignore[misc]


def _serve(writer: TelemetryWriter, step: int) -> None:
    decoder = msgspec.json.Decoder(Steps | Close)
    for line in sys.stdin:
        asked = decoder.decode(line)
        if isinstance(asked, Close):
            began = time.perf_counter()
            writer.close()
            _answer(Done(time.perf_counter() - began, writer.lost))
            return
        _answer(Done(_record(writer, step, asked), writer.lost))
        step += asked.count


def _record(writer: TelemetryWriter, first: int, asked: Steps) -> float:
    longest = 0.0
    for step in range(first, first + asked.count):
        began = time.perf_counter()
        writer.train_step(step, loss=1.0 / step, lr=1e-4)
        longest = max(longest, time.perf_counter() - began)
        if asked.pause_s:
            time.sleep(asked.pause_s)
    return longest


def _answer(done: Done) -> None:
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
