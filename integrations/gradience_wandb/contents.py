"""What a batch becomes in W&B's terms; pure, so that a replay says the same again.

One row for each line, at the line's number: that is W&B's step, which never goes back, and what acknowledges a line.
"""

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec

from gradience.audit import columns
from gradience.mirror import standing, verified, view
from gradience.mirror.sink import Batch
from gradience.mirror.view import CURSOR_TAG, RUN_ID_TAG
from gradience.report.plain import plain
from gradience.vnext.nonfinite import name as spelling
from gradience.vnext.record import Record
from gradience.vnext.types import Alert, Metrics, RunEnd, RunStart, RunStatus, Severity
from gradience_wandb.known import ROOT, Known

STEP: Final = f"{ROOT}/step"  # the step of training: the x-axis of all our metrics
TABLE: Final = f"{columns.KIND}/modules"
RUNNING: Final = "running"
EXIT_CODES: Final = {RunStatus.OK: 0, RunStatus.ERROR: 1, RunStatus.ABORTED: 130}
_BRANCHES: Final = ("alert", "nonfinite")  # below `gradience`, with a name for each alert or metric
_LEVELS: Final = {Severity.INFO: "INFO", Severity.WARNING: "WARN"}
_TAG: Final = 64  # characters that W&B takes of a tag, and of an alert's title


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line as a row of history; `table` has the columns of an audit's modules, where the line is one."""

    line: int
    values: dict[str, float]
    table: dict[str, list[Any]] | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as W&B sends it."""

    line: int
    title: str
    text: str
    level: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch adds to its run: everything after it, where a part is replaced as a whole.

    `config` has the keys that change, at the top of the tree.
    """

    rows: tuple[Row, ...]
    notices: tuple[Notice, ...]
    config: dict[str, Any]
    told: dict[str, Any]
    tags: tuple[str, ...]

    @property
    def keys(self) -> dict[str, float]:
        """The metrics of all rows, each with some value."""
        found: dict[str, float] = {}
        for row in self.rows:
            found.update(row.values)
        return found


def contents(batch: Batch, known: Known) -> Contents:
    """Everything that a batch brings to a run of which so much is known."""
    batch = in_light_of(batch, known)
    config, conflicts = _config(batch, known.config)
    told = _told(batch, known.told, conflicts)
    return Contents(
        rows=tuple(map(_row, view.rows(batch))),
        notices=tuple(notices(batch)),
        config=config,
        told=told,
        tags=_tags(batch, known),
    )


def exit_code(status: str) -> int:
    """The exit code that gives a run the state of how it ended; 0 for a status of somebody else's vocabulary."""
    return next((code for known, code in EXIT_CODES.items() if known.value == status), 0)


def mark(note: str) -> str:
    """What tells a note of ours from one that a person has written since."""
    return sha256(note.encode("utf-8", "replace")).hexdigest()[:16]


@lru_cache(maxsize=10_000)  # of few keys in many rows
def legal(key: str) -> str:
    """A metric's name in W&B, whose own names begin with an underscore; ours is the step's."""
    return f"metrics/{key}" if key.startswith("_") or key in (STEP, ROOT, "") else key


def _row(row: view.Row) -> Row:
    record = row.record
    values = {legal(key): value for key, value in row.values.items()}
    if values:
        values[STEP] = record.event.step or 0
    values["_timestamp"] = record.event.ts
    return Row(line=record.line, values=values, table=_table(record))


def _table(record: Record) -> dict[str, list[Any]] | None:
    """The modules of an audit; None for one that is too foreign to be a table."""
    event = record.event
    if not isinstance(event, Metrics) or event.kind != columns.KIND:
        return None
    table = event.metrics.get("modules")
    if not isinstance(table, Mapping) or not all(isinstance(column, list) for column in table.values()):
        return None
    return dict(table) if table and len({len(column) for column in table.values()}) == 1 else None


def notices(batch: Batch) -> Iterator[Notice]:
    """The alerts of a batch."""
    for record in batch.records:
        event = record.event
        if isinstance(event, Alert):
            at = "" if event.step is None else f" at step {event.step}"
            yield Notice(
                line=record.line,
                title=_short(plain(event.code or "unnamed")),
                text=plain(f"{event.severity.value}{at}: {event.message}"),
                level=_LEVELS.get(event.severity, "ERROR"),
            )


def _config(batch: Batch, known: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The keys that a configuration changes, and a line for each value that is there with another one."""
    whole = {key: value for key, value in known.items() if key != ROOT}
    fresh: dict[str, Any] = {}
    conflicts: list[str] = []
    for record in batch.records:
        event = record.event
        if isinstance(event, RunStart):
            tree = _plain({**event.config, "meta": event.meta} if event.meta else event.config)
            conflicts += _conflicts(whole, tree)
            whole = _merged(whole, tree)
            fresh = {key: whole[key] for key in {**fresh, **tree} if key != ROOT}
            fresh[ROOT] = {
                **_mapping(known.get(ROOT)),
                "run_id": event.run_id,
                "created_by": ROOT,
                "configured": record.line,
                "start": _mark(record),
            }
    return fresh, conflicts


def is_of_another_file(batch: Batch, known: Known) -> bool:
    """Whether a batch repeats the line of the run's configuration, and says something else there."""
    ours = _mapping(known.config.get(ROOT))
    line, start = ours.get("configured"), ours.get("start")
    return start is not None and any(record.line == line and _mark(record) != start for record in batch.records)


def _mark(record: Record) -> str:
    return sha256(record.raw).hexdigest()[:16]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _conflicts(known: Mapping[str, Any], stated: Mapping[str, Any]) -> list[str]:
    kept = view.flat(known)
    both = ((key, kept[key], value) for key, value in view.flat(stated).items() if key in kept)
    return [f"{key}: {before}, then {value}" for key, before, value in both if before != value]


def _merged(known: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees; what is known stays."""
    both = {**stated, **known}
    for key, value in stated.items():
        if isinstance(value, Mapping) and isinstance(known.get(key), Mapping):
            both[key] = _merged(known[key], value)
    return both


def _plain(value: Any) -> Any:
    """A value as JSON has it everywhere: a number that is not finite by its name, and nothing for None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items() if child is not None}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return spelling(value) if isinstance(value, float) and not math.isfinite(value) else value


def _told(batch: Batch, known: Mapping[str, Any], conflicts: list[str]) -> dict[str, Any]:
    """Our part of the summary after a batch."""
    told: dict[str, Any] = json.loads(json.dumps(known))
    tags = {key: value for key, value in view.batch_tags(batch).items() if key not in (RUN_ID_TAG, CURSOR_TAG)}
    for key, value in tags.items():
        _put(told, key.removeprefix(f"{ROOT}."), value)
    if conflicts:
        told["param_conflict"] = "; ".join(conflicts)
    status = _status(batch)
    if status is not None:
        told["status"] = status
    told["run_id"] = batch.records[0].event.run_id
    told["cursor"] = str(batch.position)
    return told


def _put(told: dict[str, Any], name: str, value: str) -> None:
    branch, _, leaf = name.partition(".")
    if leaf and branch in _BRANCHES:
        told.setdefault(branch, {})[leaf] = value
    else:
        told[f"{name}_" if name in _BRANCHES else name] = value


def _status(batch: Batch) -> str | None:
    """How the run stands after the last start or end in a batch."""
    for record in reversed(batch.records):
        event = record.event
        if isinstance(event, RunStart):
            return RUNNING
        if isinstance(event, RunEnd):
            return str(event.status)
    return None


def _tags(batch: Batch, known: Known) -> tuple[str, ...]:
    """The run's tags after a batch: everybody else's, and those of what stands and of every alert."""
    alerts = [record.event.code for record in batch.records if isinstance(record.event, Alert)]
    stale, fresh = _advice_tags(batch, known)
    kept = [tag for tag in known.tags if tag not in set(map(_tag, stale))]
    return tuple(dict.fromkeys([*kept, *map(_tag, [*fresh, *(code for code in alerts if code)])]))


def _advice_tags(batch: Batch, known: Known) -> tuple[list[Any], list[Any]]:
    """The tags that advice and verification take away, and those that they bring."""
    advice, tags = standing.advice(batch), standing.verified_tags(batch)
    stale: list[Any] = []
    fresh: list[Any] = []
    if advice is not None:
        codes = advice.extras.get("codes")
        stale = [known.told.get("verdict"), *str(known.told.get("codes", "")).split(",")]
        fresh = [advice.extras["verdict"], *(codes if isinstance(codes, list) else [])]
    if advice is not None or tags:
        stale += [_verified(outcome) for outcome in ("pass", "fail")]
    outcome = tags.get(verified.OUTCOME_TAG)
    return stale, [*fresh, *([_verified(outcome)] if outcome else [])]


def _verified(outcome: str) -> str:
    return f"verified_{outcome}"


def _tag(name: object) -> str:
    return _short(plain(f"{ROOT}:{name}"))


def _short(text: str) -> str:
    return text if len(text) <= _TAG else f"{text[: _TAG - 1]}…"


def in_light_of(batch: Batch, known: Known) -> Batch:
    """The batch, given what another journal may have left on the run."""
    return standing.in_light_of(batch, {f"{ROOT}.{key}": value for key, value in known.told.items()})
