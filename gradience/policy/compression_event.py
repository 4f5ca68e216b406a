"""A compression as its event tells it, `metrics(kind="compression")`: which adapter, what it became, how far off.

Numbers are points of a tracker, by module type where they are grouped; fingerprints say which adapters they are of.
"""

from typing import Any, Final

import msgspec

from gradience.audit.compression.record import Compression, Part

KIND: Final = "compression"
DOCUMENT_SCHEMA: Final = "gradience.compression/v1"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two adapters."""

    fingerprint: str | None
    peft_dir: str
    r: int
    step: int | None
    size_bytes: int  # of the weights file


class CompressionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The `metrics` of the event."""

    adapter: Side
    compressed_adapter: Side
    rank: int
    uniform: bool
    params: int
    params_left: int
    energy_kept: float
    relative_error: float
    worst_error: float
    worst_module: str
    by_type: dict[str, Part]


def metrics(found: Compression, fingerprint: str, sizes: tuple[int, int]) -> dict[str, Any]:
    """The `metrics` of the event; `fingerprint` is that of the new adapter, `sizes` those of both weights files."""
    source, whole = found.source, found.whole
    event = CompressionEvent(
        adapter=_side(source.fingerprint, source.peft_dir, source.r, source.step, sizes[0]),
        compressed_adapter=_side(fingerprint, found.out, found.rank, source.step, sizes[1]),
        rank=found.rank,
        uniform=found.is_uniform,
        params=whole.params,
        params_left=whole.params_left,
        energy_kept=whole.energy_kept,
        relative_error=whole.relative_error,
        worst_error=whole.worst_error,
        worst_module=whole.worst_module,
        by_type={part.name: part for part in found.by_type},
    )
    told: dict[str, Any] = msgspec.to_builtins(event)
    return told


def document(told: dict[str, Any], found: Compression) -> dict[str, Any]:
    """What `--json` prints: the event, and every module."""
    return {
        "schema": DOCUMENT_SCHEMA,
        **told,
        "modules": msgspec.to_builtins(found.cuts),
        "copied": list(found.copied),
        "left_behind": list(found.left_behind),
        "issues": list(found.issues),
    }


def _side(fingerprint: str | None, place: str, r: int, step: int | None, size: int) -> Side:
    return Side(fingerprint=fingerprint, peft_dir=place, r=r, step=step, size_bytes=size)
