"""What the detectors fired over a run as findings: once for each rule, at its worst, with what would refute it."""

from collections.abc import Iterable
from typing import Final

import msgspec

from gradience.policy.rule import Match, Policy, ordered
from gradience.vnext.signals import AlertSeen
from gradience.vnext.types import Recommendation

_BASIS: Final = frozenset({"thresholds", "policy_changed", "state"})  # of an alert's context: no facts


def findings(fired: Iterable[AlertSeen], policy: Policy) -> list[Recommendation]:
    """The findings, worst first; facts are those of the latest alert, steps those of all alerts of its severity."""
    found = ordered(_finding(one, policy) for one in fired if one.code in policy.rules)
    return list({one.action: one for one in reversed(found)}.values())[::-1]


def counted(fired: Iterable[AlertSeen], recorded: Iterable[AlertSeen]) -> dict[str, int]:
    """Alerts by severity, recorded or fired; what was both is one."""
    both = {(one.severity, one.code): one for one in (*fired, *recorded)}
    counts: dict[str, int] = {}
    for one in both.values():
        counts[one.severity.value] = counts.get(one.severity.value, 0) + one.count
    return counts


def _finding(one: AlertSeen, policy: Policy) -> Recommendation:
    facts = {name: value for name, value in one.context.items() if name not in _BASIS}
    found = policy.rules[one.code].finding(Match(facts=facts, severity=one.severity))
    steps = {"count": one.count, "first_step": one.first_step, "last_step": one.step}
    several = "" if one.count == 1 else f" The last of {one.count}, the first at step {one.first_step}."
    return msgspec.structs.replace(found, message=f"{one.message}{several}", evidence={**found.evidence, **steps})
