"""What a batch becomes in MLflow's terms: rows, params and tags; pure, so that a replay says the same again."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from gradience.mirror import view
from gradience.mirror.sink import Batch
from gradience.vnext.types import RunEnd, RunStart, RunStatus
from gradience_mlflow import limits
from gradience_mlflow.keys import Names, legal
from gradience_mlflow.limits import Metric

CONFLICT_TAG: Final = "gradience.param_conflict"
ENDED: Final = {"ok": "FINISHED", "aborted": "KILLED", "error": "FAILED"}
_OTHER_END: Final = "FINISHED"  # a status of somebody else's vocabulary: the run ended, and no failure is told


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch adds to its tracked run."""

    metrics: tuple[Metric, ...]
    params: dict[str, str]
    tags: dict[str, str]


class Phase(msgspec.Struct, frozen=True):
    """The state that a batch leaves its run in; `ended` is Unix milliseconds, None while it runs."""

    status: str
    ended: int | None = None


def contents(batch: Batch, names: Names, logged: Mapping[str, str]) -> Contents:
    """Everything a batch brings, but for the run_id, which is tagged when the run is opened.

    `logged` are the params that the run has already; they never change.
    """
    points = view.batch_points(batch)
    rows = (Metric(names.name(p.key), p.value, limits.milliseconds(p.ts), p.step) for p in points)
    params, conflicts = _params(batch, logged)
    tags = {
        **names.changed(point.key for point in points),
        **{legal(key): value for key, value in view.batch_tags(batch).items() if key != view.RUN_ID_TAG},
        **({CONFLICT_TAG: "; ".join(conflicts)} if conflicts else {}),
    }
    return Contents(
        metrics=tuple(rows), params=params, tags={key: limits.text(value, limits.TAG) for key, value in tags.items()}
    )


def starts(batch: Batch) -> bool:
    """Whether the batch begins or resumes a run."""
    return any(isinstance(record.event, RunStart) for record in batch.records)


def phase(batch: Batch) -> Phase | None:
    """The state after the last start or end in the batch."""
    for record in reversed(batch.records):
        event = record.event
        if isinstance(event, RunStart):
            return Phase("RUNNING")
        if isinstance(event, RunEnd):
            return Phase(ENDED.get(event.status, _OTHER_END), limits.milliseconds(event.ts))
    return None


def ended(status: RunStatus) -> str:
    """MLflow's word for how a run ended."""
    return ENDED[status.value]


def _params(batch: Batch, logged: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The params that are absent so far, and a line for each that is there with another value."""
    fresh: dict[str, str] = {}
    conflicts = []
    for key, value in _stated(batch):
        kept = logged.get(key, fresh.setdefault(key, value))
        if kept != value:
            conflicts.append(f"{key}: {kept}, then {value}")
    return {key: value for key, value in fresh.items() if key not in logged}, conflicts


def _stated(batch: Batch) -> Iterable[tuple[str, str]]:
    for record in batch.records:
        if not isinstance(record.event, RunStart):
            continue
        names = Names()
        for key, value in view.params(record).items():
            yield names.name(key), limits.text(value, limits.PARAM)
