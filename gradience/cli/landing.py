"""Where an audit's two events go: the journal of the run that trained the adapter, or a new one beside the adapter."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience import references
from gradience.audit.record import AdapterInfo, AuditRecord
from gradience.errors import GradienceError, InputError, TelemetryError
from gradience.mirror import origin
from gradience.policy import audit_event
from gradience.policy.advice import Advice
from gradience.settings import sources
from gradience.vnext import runs
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot, Metrics, RecommendationEvent, UnknownEvent

NAME: Final = "run.jsonl"
ABOVE: Final = 2  # folders above the adapter: OUT/checkpoint-500 and OUT/run-1/checkpoint-500 both find OUT's journal
_LONGEST: Final = 60  # characters of a reference in a file's name


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """The file to append to; `run_id` is None where it holds no run yet, or does not exist."""

    path: Path
    run_id: str | None = None


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """Where the events are now; `added` is False where the same audit of the same adapter was there already."""

    path: Path
    run_id: str
    added: bool


class _Past(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal already holds of the run."""

    last_step: int | None
    has_audit: bool


def named(path: Path) -> Journal:
    """The journal that `--append` names: it has to exist and hold a run.

    Raises:
        TelemetryError: it does not.
    """
    runs.check(path)
    last = runs.last(path)
    if last is None:
        raise TelemetryError(f"cannot append to {path}: it holds no run yet; name another file, or use --telemetry")
    return Journal(path=path, run_id=last.run_id)


def at(path: Path) -> Journal:
    """The journal that `--telemetry` names, which may still have to be made.

    Raises:
        TelemetryError: there is something else under that name.
    """
    if not path.exists():
        return Journal(path=path)
    runs.check(path)
    last = runs.last(path)
    return Journal(path=path, run_id=last.run_id if last else None)


def beside(adapter: Path) -> Journal:
    """The journal in or above the directory of the adapter, else one to be made in it.

    Raises:
        InputError: several could be meant.
        TelemetryError: a file that is no journal is in the way of a new one.
    """
    here = _folder(adapter)
    for folder in [here, *here.parents][: ABOVE + 1]:
        found = _in(folder)
        if found is not None:
            return found
    return at((adapter if adapter.is_dir() else adapter.parent) / NAME)


def apart(reference: str) -> Journal:
    """The journal of an adapter that was fetched: in the working directory, under a name of the reference's own.

    Raises:
        TelemetryError: a file that is no journal is in the way of a new one.
    """
    mark = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "-", reference.partition(":")[2]).strip("-.")[-_LONGEST:]
    return at(Path(f"audit-{name.strip('-.')}-{mark}.jsonl"))


def planned_steps(journal: Journal) -> int | None:
    """How many steps the journal's run was meant to take, where its configuration says."""
    if journal.run_id is None:
        return None
    config = TelemetryReader(journal.path, run_id=journal.run_id).latest_config()
    return config.training.max_steps if config else None


def land(journal: Journal, record: AuditRecord, advice: Advice) -> Landed:
    """Append the audit and its advice to the journal; a new one gets a run of its own.

    Raises:
        TelemetryError: the journal cannot be written; nothing of the audit is in it then.
    """
    if journal.run_id is None:
        return Landed(path=journal.path, run_id=_create(journal.path, record, advice), added=True)
    past = _past(journal, record)
    if past.has_audit:
        return Landed(path=journal.path, run_id=journal.run_id, added=False)
    append_events(journal.path, journal.run_id, _events(record, advice, past.last_step))
    return Landed(path=journal.path, run_id=journal.run_id, added=True)


def _in(folder: Path) -> Journal | None:
    first = _journal(folder / NAME)
    if first is not None:
        return first
    found = [journal for path in sorted(folder.glob("*.jsonl")) if (journal := _journal(path)) is not None]
    if len(found) > 1:
        names = ", ".join(str(journal.path) for journal in found)
        raise InputError(f"cannot choose the run that trained the adapter: {names}; name one with --append")
    return found[0] if found else None


def _journal(path: Path) -> Journal | None:
    try:
        return named(path)
    except TelemetryError:
        return None


def _past(journal: Journal, record: AuditRecord) -> _Past:
    step, audited, advised = None, False, False
    for line in TelemetryReader(journal.path, run_id=journal.run_id):
        event = line.event
        step = step if event.step is None else max(step or 0, event.step)
        if isinstance(event, Metrics) and event.kind == audit_event.KIND:
            audited = audited or _is_same(event.metrics, record)
        elif isinstance(event, RecommendationEvent | UnknownEvent) and event.name == RecommendationEvent.name:
            advised = advised or line.payload.get("adapter") == record.adapter.fingerprint
    return _Past(last_step=step, has_audit=audited and advised)


def _is_same(metrics: Mapping[str, Any], record: AuditRecord) -> bool:
    adapter = metrics.get("adapter")
    return (
        isinstance(adapter, Mapping)
        and record.adapter.fingerprint is not None
        and adapter.get("fingerprint") == record.adapter.fingerprint
        and adapter.get("initial") == record.adapter.initial
        and metrics.get("audit_version") == record.audit_version
        and metrics.get("energy_level") == record.energy_level
        and metrics.get("base_path") == record.base_path
    )


def _events(record: AuditRecord, advice: Advice, last_step: int | None) -> Iterator[dict[str, Any]]:
    step = last_step if record.adapter.step is None else record.adapter.step
    metrics = audit_event.metrics(record, advice)
    yield {"event": "metrics", "step": step, "kind": audit_event.KIND, "metrics": metrics}
    yield {"event": "recommendation", "step": step, **audit_event.recommendation(record, advice)}


def _create(path: Path, record: AuditRecord, advice: Advice) -> str:
    meta = {**_origin(record.adapter.peft_dir), "created_by": origin.AUDIT}
    with TelemetryWriter(path, strict=True, sinks=()) as writer:
        writer.run_start(_config(record.adapter), meta=meta)
        for event in _events(record, advice, None):
            writer.log(event.pop("event"), **event)
        return writer.run_id


def _config(adapter: AdapterInfo) -> ConfigSnapshot:
    try:
        return ConfigSnapshot.from_dict(sources.adapter(Path(adapter.adapter_config_path)))
    except GradienceError:
        return ConfigSnapshot()  # the audit could read it; as a configuration it may still be odd


def _origin(place: str) -> dict[str, str]:
    """Where the adapter is from."""
    return {"adapter": place} if references.parse(place) else {"output_dir": str(_output_dir(Path(place)))}


def _output_dir(adapter: Path) -> Path:
    """The directory a trainer calls its own: checkpoints are folders in it."""
    here = _folder(adapter)
    return here.parent if here.name.startswith("checkpoint-") else here


def _folder(adapter: Path) -> Path:
    """Other tools' adapters are single files."""
    here = adapter.resolve()
    return here.parent if here.is_file() else here
