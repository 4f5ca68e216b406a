"""One adapter of many as one line of a table: what to sort by, what to search for, or why it could not be audited."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final, Literal

import msgspec

from gradience import references
from gradience.audit.disk.module import natural
from gradience.audit.record import AuditRecord
from gradience.policy import audit_event
from gradience.policy.advice import Advice, Verdict

REFUSED: Final = "refused"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Of a refused adapter only `name`, `peft_dir`, `verdict` and `error` are known."""

    name: str  # the part of the path that tells the adapters of a batch apart
    peft_dir: str
    verdict: Verdict | Literal["refused"]
    codes: tuple[str, ...] = ()
    suggested_rank: int | None = None
    r: int | None = None  # the largest module's
    modules: int | None = None
    kinds: dict[str, int] = {}  # modules of each type
    params: int | None = None
    surplus_params: int | None = None  # parameters beyond the 95 % energy ranks
    rank_waste: float | None = None
    utilization: float | None = None
    base_model: str | None = None
    step: int | None = None
    fingerprint: str | None = None
    adapter_config_path: str | None = None
    error: str | None = None


KEYS: Final = tuple(name for name in Row.__struct_fields__ if name not in ("codes", "kinds"))  # to sort by


def of(name: str, record: AuditRecord, advice: Advice) -> Row:
    """The row of an adapter that was audited."""
    adapter, summary = record.adapter, record.summary
    return Row(
        name=_text(name),
        peft_dir=_text(adapter.peft_dir),
        verdict=advice.verdict,
        codes=advice.codes,
        suggested_rank=advice.suggested_rank,
        r=advice.ranks.current_r,
        modules=summary.n_layers,
        kinds={kind: of_kind.n_layers for kind, of_kind in record.by_type.items()},
        params=summary.total_lora_params,
        surplus_params=round(sum(audit_event.surplus(module) for module in record.modules)),
        rank_waste=summary.rank_waste,
        utilization=summary.utilization_mean,
        base_model=adapter.base_model,
        step=adapter.step,
        fingerprint=adapter.fingerprint,
        adapter_config_path=_text(adapter.adapter_config_path),
    )


def refused(name: str, place: str, why: str) -> Row:
    """The row of an adapter that could not be audited."""
    return Row(name=_text(name), peft_dir=_text(shown(place)), verdict=REFUSED, error=_text(why))


def by_surplus(rows: Sequence[Row]) -> list[Row]:
    """Most surplus parameters first, refused ones last; equals by name, checkpoint-9 before checkpoint-10."""
    return sorted(rows, key=lambda row: (row.surplus_params is None, -(row.surplus_params or 0), natural(row.name)))


def first(rows: Sequence[Row], count: int) -> list[Row]:
    """The first `count` adapters that were audited, all if it is 0, and then every refused one."""
    if not count:
        return list(rows)
    audited = [row for row in rows if row.error is None]
    return [*audited[:count], *(row for row in rows if row.error is not None)]


def names(places: Sequence[str]) -> dict[str, str]:
    """A name for each place: what of its path comes after the folders that all of them share."""
    parts = {place: (shown(place).rstrip("/") or "/").split("/") for place in places}
    levels = zip(*(path[:-1] for path in parts.values()), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return {place: "/".join(path[shared:]) for place, path in parts.items()}


def shown(place: str) -> str:
    """A reference without credentials; a path as it is."""
    reference = references.parse(place)
    return reference.shown if reference else place


def _text(path: str) -> str:
    """A path as text that every output can hold: the bytes of a name need not be any."""
    return path.encode("utf-8", "backslashreplace").decode()
