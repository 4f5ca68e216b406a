"""The work on one adapter, in whatever process it happens: measured, or found in the cache, or refused in its row."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from gradience import audit, references
from gradience.audit.base import place as base_place
from gradience.audit.base.place import FileState
from gradience.audit.disk import digest
from gradience.audit.disk.opening import opened
from gradience.audit.record import AuditRecord
from gradience.batch import cache, row
from gradience.batch.cache import Cache
from gradience.batch.row import Row
from gradience.errors import GradienceError
from gradience.policy.advice import advise
from gradience.policy.rule import Policy
from gradience.vnext.types import Recommendation


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every adapter of a batch. `arguments` are those of `gradience.audit.audit`."""

    arguments: dict[str, Any]
    tracker: str | None = None  # the address of the tracker for references to its runs and models
    cache: Path | None = None  # None: nothing is kept
    policy: Policy | None = None  # other than ours
    copies: int | None = None  # adapters of the kind that are served
    whole: bool = False  # the records are wanted too; they are large


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one adapter; `record` only where the order asks for it."""

    place: str
    row: Row
    findings: tuple[Recommendation, ...] = ()
    source: Literal["measured", "cache", "refused"]
    kept: bool = True  # False: it could not be written to the cache
    record: AuditRecord | None = None


class _Audited(msgspec.Struct, frozen=True):
    record: AuditRecord
    source: Literal["measured", "cache"]
    kept: bool = True


def answer(place: str, name: str, order: Order) -> Answer:
    """Audit one adapter; an error is an answer too, so that one adapter never costs the others."""
    try:
        done = _audited(place, order)
    except GradienceError as error:
        return _refused(place, name, str(error))
    except Exception as error:  # noqa: BLE001 - a fault of ours in one adapter must not cost the 99,999 others
        return _refused(place, name, f"cannot audit {name}: internal error, {type(error).__name__}: {error}")
    advice = advise(done.record, policy=order.policy, copies=order.copies)
    return Answer(
        place=place,
        row=row.of(name, done.record, advice),
        findings=advice.recommendations,
        source=done.source,
        kept=done.kept,
        record=done.record if order.whole else None,
    )


def _refused(place: str, name: str, why: str) -> Answer:
    return Answer(place=place, row=row.refused(name, place, why), source="refused")


def _audited(place: str, order: Order) -> _Audited:
    fetched = references.fetch(place, tracker=order.tracker)
    if order.cache is None:
        return _Audited(audit.audit(fetched, **order.arguments), "measured")
    with opened(fetched, initial=order.arguments.get("initial")) as found:
        fingerprint = digest.of(found.files)
        start = digest.of(found.initial) if found.initial else None
        key = cache.key(fingerprint, start, order.arguments, found.issues, _state(order.arguments.get("base_model")))
    store = Cache(order.cache)
    if known := store.get(key):
        info = msgspec.structs.replace(found.info, fingerprint=fingerprint)
        return _Audited(msgspec.structs.replace(known, adapter=info), "cache")
    record = audit.audit(fetched, **order.arguments)
    return _Audited(record, "measured", store.put(key, record))


def _state(base_model: str | None) -> list[FileState]:
    """The files of the base model as they are: too many bytes to be hashed for every adapter."""
    return [] if base_model is None else base_place.states(base_place.located(base_model).folder)
