"""The rows of a batch together: the JSON document of several adapters, and the same rows one by one as JSON lines."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gradience.audit.record import AUDIT_VERSION
from gradience.batch import row
from gradience.batch.row import Row, shown

SCHEMA: Final = "gradience.audit_table/v1"
ROW_SCHEMA: Final = "gradience.audit_row/v1"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows add up to."""

    adapters: int
    refused: int
    params: int
    surplus_params: int


def totals(rows: Sequence[Row]) -> Totals:
    """The sums over the rows of adapters that were audited."""
    return Totals(
        adapters=len(rows),
        refused=sum(one.error is not None for one in rows),
        params=sum(one.params or 0 for one in rows),
        surplus_params=sum(one.surplus_params or 0 for one in rows),
    )


def document(rows: Sequence[Row], arguments: dict[str, Any], *, top: int = 0) -> dict[str, Any]:
    """What `--json` prints; `arguments` are the options of the audits. Totals are those of all, whatever `top` cuts."""
    return {
        "schema": SCHEMA,
        "audit_version": AUDIT_VERSION,
        "options": {name: shown(value) if isinstance(value, str) else value for name, value in arguments.items()},
        "totals": msgspec.to_builtins(totals(rows)),
        "adapters": [msgspec.to_builtins(one) for one in row.first(rows, top)],
    }


def line(one: Row) -> dict[str, Any]:
    """What `--format jsonl` prints of one adapter."""
    return {"schema": ROW_SCHEMA, **msgspec.to_builtins(one)}
