"""Lines of a small made-up run, for tests of what reads or delivers journals."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.types import SCHEMA

STARTED: Final = 1_700_000_000.0  # Unix seconds

_EVENTS: Final[tuple[dict[str, Any], ...]] = (
    {"event": "run_start", "config": {"lora": {"r": 8}}, "meta": {"experiment": "samples"}},
    {"event": "train_step", "step": 1, "loss": 2.5, "lr": 1e-4, "tokens": 512},
    {"event": "train_step", "step": 2, "loss": float("nan"), "lr": [1e-4, 2e-4]},
    {"event": "eval", "step": 2, "split": "test", "metrics": {"accuracy": 0.5, "n": 10}},
    {"event": "alert", "step": 2, "severity": "warning", "code": "LOSS_NAN", "message": "The loss is not a number"},
    {"event": "metrics", "step": 2, "kind": "spectral", "metrics": {"attn": {"kappa_mean": 3.0}, "names": ["a", "b"]}},
    {"event": "recommendation", "step": 2, "recommendations": [], "verdict": "ok", "codes": []},
    {"event": "of_a_later_version", "step": 3, "anything": [1, 2, 3]},
    {"event": "run_end", "status": "ok"},
)


def line(run_id: str, event: str, *, ts: float = STARTED, step: int | None = None, **payload: Any) -> bytes:
    """One line with its newline, as a recorder writes it."""
    return codec.encode({"schema": SCHEMA, "ts": ts, "run_id": run_id, "event": event, "step": step, **payload})


def every_event(run_id: str) -> list[bytes]:
    """A short run with each kind of event, one of a later version among them."""
    return [line(run_id, ts=STARTED + number, **event) for number, event in enumerate(_EVENTS)]


def steps(run_id: str, first: int, last: int) -> list[bytes]:
    """A `train_step` for each step from `first` to `last`."""
    return [line(run_id, "train_step", ts=STARTED + step, step=step, loss=1 / step) for step in range(first, last + 1)]


def records(lines: Iterable[bytes]) -> list[Record]:
    """The lines as a reader of their file hands them on."""
    end, found = 0, []
    for number, raw in enumerate(lines, start=1):
        end += len(raw)
        found.append(Record(number, end, raw, codec.decode(raw)))
    return found


def write(path: Path, lines: Iterable[bytes]) -> Path:
    """Append lines to a journal."""
    with path.open("ab") as file:
        file.writelines(lines)
    return path
