"""What a recorded run shows: how it ended, what went wrong in it, and how far it fits its training data better."""

import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gradience.evaluation import verification
from gradience.policy import catalogue, check
from gradience.policy import verification as verification_rules
from gradience.policy.rule import CONFIDENCE, Finder, Match, Policy, Thresholds, ordered
from gradience.vnext.signals import AlertSeen, SignalSnapshot
from gradience.vnext.types import Recommendation, Severity


def loss_nonfinite(seen: SignalSnapshot, _: Thresholds) -> Match | None:
    """The first loss, gradient norm or evaluation that was no finite number."""
    found = [one for one in seen.nonfinite if _is_vital(one.name)]
    if not found:
        return None
    first = min(found, key=lambda one: one.line)
    facts = {"name": first.name, "value": first.value, "step": first.step, "line": first.line}
    return Match(facts={**facts, "count": sum(one.count for one in found)})


def run_failed(seen: SignalSnapshot, _: Thresholds) -> Match | None:
    """The run says itself that it did not end well."""
    if not seen.ended or seen.status == "ok":
        return None
    severity = Severity.WARNING if seen.status == "aborted" else Severity.ERROR
    return Match(facts={"status": seen.status, "last_step": seen.last_step or 0}, severity=severity)


def run_unfinished(seen: SignalSnapshot, _: Thresholds) -> Match | None:
    """There are events, and no end."""
    if seen.ended or not seen.counts:
        return None
    return Match(facts={"last_step": seen.last_step or 0, "last_ts": seen.last_ts})


def journal_changed(seen: SignalSnapshot, _: Thresholds) -> Match | None:
    """The lines that the run's end sealed are others now."""
    if seen.seal is None or seen.seal.is_intact:
        return None
    return Match(facts={"line": seen.seal.line, "lines": seen.seal.lines})


def memorization_gap(seen: SignalSnapshot, limits: Thresholds) -> Match | None:
    """Held-out perplexity is a multiple of the training perplexity."""
    if seen.gap is None or not seen.gap >= limits["gap"]:
        return None
    nat = math.log(seen.gap)
    return Match(facts={"ratio": seen.gap, "nat": nat, "split": seen.test_split, "source": seen.gap_source})


def gap_unavailable(seen: SignalSnapshot, _: Thresholds) -> Match | None:
    """Nothing says how well the run does on text that it has not seen."""
    if seen.gap is not None or not seen.counts.get("train_step"):
        return None
    return Match(facts={"reason": seen.gap_note or "no held-out evaluation"})


def monitor(seen: SignalSnapshot, *, policy: Policy | None = None) -> list[Recommendation]:
    """Every finding of our own, worst first; of the configuration's those that are more than a hint."""
    policy = policy or catalogue.shipped()
    found = policy.findings(RULES, seen)
    static = check.check(seen.config, policy=policy) if seen.config else []
    return ordered([*found, *(one for one in static if one.severity.rank >= Severity.WARNING.rank)])


def recorded(seen: SignalSnapshot) -> list[Recommendation]:
    """The findings that the run's own latest recommendation event holds; what does not fit is left out."""
    listed = (seen.recommendation or {}).get("recommendations")
    items = listed if isinstance(listed, list) else []
    return ordered(one for item in items if (one := _recommendation(item)) is not None)


def alerts(seen: SignalSnapshot) -> list[Recommendation]:
    """The run's recorded alerts as findings, so that one bar judges everything."""
    return ordered(map(_from_alert, seen.alerts))


def everything(seen: SignalSnapshot, found: Iterable[Recommendation]) -> list[Recommendation]:
    """All that `--fail-on` looks at: our findings, the recorded alerts and advice, and what was verified."""
    return [*found, *alerts(seen), *recorded(seen), *verified(seen)]


def verified(seen: SignalSnapshot) -> list[Recommendation]:
    """What the latest verification shows; nothing where there is none, or it passed."""
    found = verification.read(seen.verification)
    return [] if found is None else verification_rules.judge(found)


def _is_vital(name: str) -> bool:
    event, _, metric = name.partition("/")
    return (event == "train_step" and metric in ("loss", "grad_norm")) or (
        event == "eval" and metric.rpartition("/")[2] in ("loss", "ppl")
    )


def _recommendation(item: Any) -> Recommendation | None:
    try:
        return msgspec.convert(item, Recommendation, strict=False)
    except msgspec.ValidationError:
        return None


def _from_alert(alert: AlertSeen) -> Recommendation:
    return Recommendation(
        severity=alert.severity,
        action=alert.code,
        message=alert.message,
        confidence=CONFIDENCE["certain"],
        evidence={"count": alert.count, "first_step": alert.first_step, "step": alert.step, **alert.context},
    )


RULES: Final[tuple[Finder[SignalSnapshot], ...]] = (
    loss_nonfinite,
    run_failed,
    run_unfinished,
    journal_changed,
    memorization_gap,
    gap_unavailable,
)
