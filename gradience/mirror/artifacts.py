"""Which files a sink uploads beside the numbers; what is in them is the same in every tracker."""

from collections.abc import Iterable
from typing import Any, Final, Literal, get_args

from gradience.errors import InputError

Kind = Literal["audit", "report", "telemetry"]  # in a sink's signature, so that editors and `sinks check` know them

AUDIT: Final = "audit"  # audit.json: the whole audit, per module
REPORT: Final = "report"  # report.md and report.html: what its text says, verdict first, and the figures
TELEMETRY: Final = "telemetry"  # the journal, compressed, once its run is over
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DEFAULT: Final[tuple[Kind, ...]] = (AUDIT, REPORT)


def chosen(asked: Any) -> frozenset[Kind]:
    """The kinds that a sink's option `artifacts` names.

    Raises:
        InputError: it is no list, or names another kind.
    """
    kinds = ", ".join(KINDS)
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise InputError(f"artifacts is {asked!r}: it takes a list of {kinds}")
    found = list(asked)
    if unknown := [kind for kind in found if kind not in KINDS]:
        raise InputError(f"artifacts names {', '.join(map(repr, unknown))}: it takes a list of {kinds}")
    return frozenset(found)
