"""Lines of a small made-up run, for tests of what reads or delivers journals."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.types import SCHEMA

STARTED: Final = 1_700_000_000.0  # Unix seconds

_SUBJECT: Final = {"fingerprint": "blake3:a", "peft_dir": "out/adapter", "r": 8, "step": 2}
VERIFICATION: Final[dict[str, Any]] = {
    "verified": "pass",
    "metric": "accuracy",
    "higher_is_better": True,
    "original": 0.9,
    "compressed": 0.89,
    "delta": -0.01,
    "standard_error": None,
    "standard_error_from": "none",
    "tolerance": 0.02,
    "tolerance_stated": True,
    "repeats": 1,
    "n": None,
    "original_values": [0.9],
    "compressed_values": [0.89],
    "original_seconds": 1.0,
    "compressed_seconds": 1.0,
    "seeds": [0],
    "command": "python eval.py {adapter}",
    "adapter": _SUBJECT,
    "compressed_adapter": {**_SUBJECT, "fingerprint": "blake3:c", "r": 4},
}

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
