"""Which lines matter to a person, and what is said of them; pure, so that a line that comes again is recognised."""

from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final

import msgspec

from gradience.evaluation import verification
from gradience.mirror import origin, standing
from gradience.mirror.sink import Run
from gradience.report.numbers import duration, number
from gradience.report.plain import plain
from gradience.vnext.record import Record
from gradience.vnext.types import (
    Alert,
    Metrics,
    Recommendation,
    RecommendationEvent,
    RunEnd,
    RunStart,
    RunStatus,
    Severity,
)

_SHORT: Final = 8  # characters of a run_id: enough to find it


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted for one line: `text` has no markup and no control characters but newlines.

    `key` is the line's own: the same line has the same key, wherever and whenever it is read. `runs` tells whether the
    run goes on after it, where it says so.
    """

    key: str
    event: str
    text: str
    run_id: str
    ts: float
    step: int | None = None
    severity: Severity | None = None
    runs: bool | None = None


def message(record: Record, run: Run, floor: Severity) -> Message | None:
    """The message of a line; None for one that no person waits for, or that matters less than `floor`."""
    event = record.event
    if isinstance(event, RunStart | RunEnd) and not origin.trains(run):
        return None  # the frame of what a command found out, which no training ran in
    if isinstance(event, RunStart):
        return _message(record, f"Started: {_named(run)}{_subject(event)}", runs=True)
    if isinstance(event, RunEnd):
        return _message(record, _ended(event, run), runs=False)
    if isinstance(event, Alert) and event.severity.rank >= floor.rank:
        text = f"{_label(event.severity)} {plain(event.code)}{_at(event.step)}: {plain(event.message)}\n{_named(run)}"
        return _message(record, text, severity=event.severity)
    if isinstance(event, RecommendationEvent):
        return _advice(record, event, run, floor)
    return _verification(record, event, run) if isinstance(event, Metrics) else None


def killed(run: Run, status: RunStatus, now: float) -> Message:
    """The end of a run that nobody recorded."""
    text = f"Ended without a word: {_named(run)}; its recorder is gone, so it counts as {status.value}"
    key = _key(run.run_id.encode(), str(now).encode())
    return Message(key=key, event=RunEnd.name, text=text, run_id=run.run_id, ts=now, runs=False)


def _advice(record: Record, event: RecommendationEvent, run: Run, floor: Severity) -> Message | None:
    told = [one for one in event.recommendations if one.severity.rank >= floor.rank]
    verdict = _verdict(record.extras, event.step) if standing.is_advice(record) else "Recommended"
    if not told and not standing.is_advice(record):
        return None
    worst = max((one.severity for one in told), key=lambda severity: severity.rank, default=None)
    return _message(record, "\n".join([f"{verdict}: {_named(run)}", *map(_finding, told)]), severity=worst)


def _verdict(extras: dict[str, Any], step: int | None) -> str:
    words = [f"Audit{_at(step)}", plain(extras["verdict"])]
    if (rank := extras.get("suggested_rank")) is not None:
        words.append(f"rank {plain(rank)} is worth testing")
    if (confidence := extras.get("confidence")) is not None:
        words.append(f"{plain(confidence)} confidence")
    return ", ".join(words)


def _verification(record: Record, event: Metrics, run: Run) -> Message | None:
    found = verification.read(event.metrics) if event.kind == verification.KIND else None
    if found is None:
        return None
    numbers = f"{plain(found.metric)} from {number(found.original)} to {number(found.compressed)}"
    ranks = f"rank {found.adapter.r} cut to {found.compressed_adapter.r}"
    return _message(record, f"Verification{_at(event.step)}, {found.verified}: {numbers}, {ranks}, {_named(run)}")


def _finding(finding: Recommendation) -> str:
    return f"{_label(finding.severity)} {plain(finding.action)}: {plain(finding.message)}"


def _ended(event: RunEnd, run: Run) -> str:
    reason = f" ({plain(event.reason)})" if event.reason else ""
    return f"Ended {plain(event.status)}{reason}: {_named(run)} after {duration(max(0.0, event.ts - run.started))}"


def _subject(event: RunStart) -> str:
    model, lora = event.config.get("model_name"), event.config.get("lora")
    rank = lora.get("r") if isinstance(lora, dict) else None
    words = [*([plain(model)] if model else []), *([f"r={plain(rank)}"] if rank else [])]
    return f", {' '.join(words)}" if words else ""


def _named(run: Run) -> str:
    """A run as a person knows it: the folder of a journal says more than any id."""
    place = "/".join(PurePath(run.journal).parts[-2:])
    return f"run {plain(run.run_id[:_SHORT])} ({plain(place)})"


def _label(severity: Severity) -> str:
    return severity.value.capitalize()


def _at(step: int | None) -> str:
    return "" if step is None else f" at step {step}"


def _message(record: Record, text: str, *, severity: Severity | None = None, runs: bool | None = None) -> Message:
    event = record.event
    return Message(
        key=_key(str(record.line).encode(), record.raw.rstrip()),
        event=event.name,
        text=text,
        run_id=event.run_id,
        ts=event.ts,
        step=event.step,
        severity=severity,
        runs=runs,
    )


def _key(*parts: bytes) -> str:
    return blake2b(b"\0".join(parts), digest_size=8).hexdigest()
