"""The modules of an audit that are asked for: which ones, and in which order. Sums and shares stay those of all."""

from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.errors import InputError
from gradience.policy import audit_event
from gradience.report import order
from gradience.report.plain import plain

LISTS: Final = ("residuals", "spectral_residuals", "singular_values")  # a value for each rank: no column of their own
SURPLUS: Final = "surplus_params"
COLUMNS: Final = (*(name for name in ModuleAudit.__struct_fields__ if name not in LISTS), SURPLUS)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`glob` matches whole names, and its `*` dots too. `top` is by surplus parameters; 0 means all.

    `sort` is one of `COLUMNS`, numbers from the largest and text from a; a `-` before it turns the order round.
    """

    glob: str | None = None
    top: int = 0
    sort: str | None = None


def select(record: AuditRecord, wanted: Wanted) -> list[ModuleAudit]:
    """The modules, in the order of the adapter if no other is wanted.

    Raises:
        InputError: no module matches.
    """
    rows = [module for module in record.modules if wanted.glob is None or fnmatchcase(module.name, wanted.glob)]
    if not rows:
        first = plain(record.modules[0].name)
        raise InputError(
            f"cannot show modules that match {wanted.glob!r}: none of {len(record.modules)} does; the first is {first}"
        )
    if wanted.top:
        rows = audit_event.most_surplus(rows, wanted.top)
    return rows if wanted.sort is None else order.by(wanted.sort, rows, value)


def value(module: ModuleAudit, column: str) -> Any:
    """What a module has in one of `COLUMNS`."""
    return audit_event.surplus(module) if column == SURPLUS else getattr(module, column)
