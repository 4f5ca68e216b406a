"""The state of what a person should know about one run: its alerts, and its numbers that were not finite."""

from typing import Any, Final

import msgspec

from gradience.vnext.signals import AlertSeen, NonfiniteSeen
from gradience.vnext.types import Alert, AnyEvent, Eval, Metrics, Severity, UnknownEvent

KEPT: Final = 100  # codes and metrics: a run that invents more does not grow the state, the counts go on


class Notices:
    """One run's alerts by severity and code, and where each metric first was not finite."""

    def __init__(self) -> None:
        self._alerts: dict[tuple[Severity, str], AlertSeen] = {}
        self._alert_counts: dict[str, int] = {}
        self._nonfinite: dict[str, NonfiniteSeen] = {}

    def alert(self, event: Alert) -> None:
        """Take an alert."""
        level = event.severity.value
        self._alert_counts[level] = self._alert_counts.get(level, 0) + 1
        key = (event.severity, event.code)
        before = self._alerts.get(key)
        if before is None and len(self._alerts) >= KEPT:
            return
        self._alerts[key] = AlertSeen(
            severity=event.severity,
            code=event.code,
            message=event.message,
            count=before.count + 1 if before else 1,
            first_step=before.first_step if before else event.step,
            step=event.step,
            context=event.context,
        )

    def nonfinite(self, event: AnyEvent | UnknownEvent, line: int) -> None:
        """Take the numbers of any event that are not finite."""
        for pointer, value in (event.nonfinite or {}).items():
            name = _place(event) + pointer.removeprefix("/metrics")
            before = self._nonfinite.get(name)
            if before is not None:
                self._nonfinite[name] = msgspec.structs.replace(before, count=before.count + 1)
            elif len(self._nonfinite) < KEPT:
                self._nonfinite[name] = NonfiniteSeen(name=name, value=value, step=event.step, line=line)

    def forget(self, step: int) -> None:
        """Drop the numbers of an attempt that is told anew from this step on; alerts were raised and stay."""
        self._nonfinite = {
            name: seen for name, seen in self._nonfinite.items() if seen.step is None or seen.step < step
        }

    def fields(self) -> dict[str, Any]:
        """Its part of the snapshot."""
        return {
            "alerts": tuple(self._alerts.values()),
            "alert_counts": dict(self._alert_counts),
            "nonfinite": tuple(self._nonfinite.values()),
        }


def _place(event: AnyEvent | UnknownEvent) -> str:
    if isinstance(event, Eval):
        return f"eval/{event.split}"
    return event.kind if isinstance(event, Metrics) else event.name
