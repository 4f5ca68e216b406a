"""The state of what was measured and advised about one run: audits, recommendations, and the signals they carry."""

from typing import Any, Final

import msgspec

from gradience.vnext.types import Metrics, RecommendationEvent

AUDIT: Final = "lora_audit"
VERIFICATION: Final = "verification"

_SIGNALS: Final = {  # field of the snapshot: the names that it goes by in metrics events
    "stable_rank_mean": ("stable_rank_mean", "avg_stable_rank", "stable_rank"),
    "utilization_mean": ("utilization_mean", "utilization", "rank_utilization"),
    "dominance_act_mean": ("dominance_act_mean", "activation_dominance_mean", "avg_dominance_act"),
    "kappa_mean": ("kappa_mean", "kappa"),
}


class _Said(msgspec.Struct, frozen=True):
    """An audit or an advice, and the step of the checkpoint that it is about."""

    step: int | None = None
    payload: dict[str, Any] | None = None

    def gives_way_to(self, step: int | None) -> bool:
        """Auditing an older checkpoint never replaces what was said of a newer one."""
        return self.step is None or step is None or step >= self.step


class Mechanic:
    """What is known of one run's adapter; an audit's signals stand above those of other metrics."""

    def __init__(self) -> None:
        self._signals: dict[str, float] = {}
        self._audit_signals: dict[str, float] = {}
        self._metrics_step: int | None = None
        self._audit = _Said()
        self._advice = _Said()
        self._verification = _Said()

    def measure(self, event: Metrics) -> None:
        """Take a metrics event."""
        self._metrics_step = event.step
        if event.kind == VERIFICATION:
            if self._verification.gives_way_to(event.step):
                self._verification = _Said(event.step, event.metrics)
        elif event.kind != AUDIT:
            self._signals |= _signals(event.metrics)
        elif self._audit.gives_way_to(event.step):
            self._audit = _Said(event.step, event.metrics)
            self._audit_signals = _signals(event.metrics)

    def advise(self, event: RecommendationEvent, payload: dict[str, Any]) -> None:
        """Take a recommendation event with its whole payload."""
        if self._advice.gives_way_to(event.step):
            self._advice = _Said(event.step, payload)

    def fields(self) -> dict[str, Any]:
        """Its part of the snapshot."""
        return {
            **self._signals,
            **self._audit_signals,
            "lora_audit": self._audit.payload,
            "lora_audit_step": self._audit.step,
            "recommendation": self._advice.payload,
            "recommendation_step": self._advice.step,
            "verification": self._verification.payload,
            "verification_step": self._verification.step,
        }

    def extras(self) -> dict[str, Any]:
        """What the public release gives beside the fields."""
        audit = {"lora_audit": self._audit.payload, "lora_audit_step": self._audit.step}
        return {"last_metrics_step": self._metrics_step} | (audit if self._audit.payload is not None else {})


def _signals(metrics: dict[str, Any]) -> dict[str, float]:
    """The signals among some metrics, each under the first of its names that is there."""
    found = {
        field: [metrics[name] for name in names if _is_number(metrics.get(name))] for field, names in _SIGNALS.items()
    }
    return {field: float(values[0]) for field, values in found.items() if values}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
