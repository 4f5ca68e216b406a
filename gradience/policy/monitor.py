"""What a recorded run shows: how it ended, what went wrong in it, and how far it fits its training data better."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gradience.evaluation import verification
from gradience.policy import check
from gradience.policy import verification as verification_rules
from gradience.policy.rule import CONFIDENCE, Match, Rule, findings, ordered
from gradience.vnext.signals import AlertSeen, SignalSnapshot
from gradience.vnext.types import Recommendation, Severity

Thresholds = Mapping[str, float]

GAP: Final = 1.5  # ratio of perplexities, 0.405 nat: the public release's, without a source of its own


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


def rules(gap: float = GAP) -> tuple[Rule[SignalSnapshot], ...]:
    """The rules, with the gap that a person asked for."""
    return tuple(
        msgspec.structs.replace(rule, thresholds={"gap": gap}) if rule.code == "memorization_gap" else rule
        for rule in RULES
    )


def monitor(seen: SignalSnapshot, *, gap: float = GAP) -> list[Recommendation]:
    """Every finding of our own, worst first; of the configuration's those that are more than a hint."""
    found = findings(rules(gap), seen)
    static = check.check(seen.config) if seen.config else []
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


RULES: Final[tuple[Rule[SignalSnapshot], ...]] = (
    Rule(
        code="loss_nonfinite",
        severity=Severity.ERROR,
        confidence="certain",
        find=loss_nonfinite,
        message="{name} is {value} at step {step}, the first of {count} such; weights from there on are suspect.",
        source="definition",
        test="Load the last checkpoint before that step and look for numbers that are not finite.",
    ),
    Rule(
        code="run_failed",
        severity=Severity.ERROR,
        confidence="certain",
        find=run_failed,
        message="The run ended with status {status} after step {last_step}.",
        source="the run's own run_end event",
    ),
    Rule(
        code="run_unfinished",
        severity=Severity.WARNING,
        confidence="certain",
        find=run_unfinished,
        message="The run has no run_end: it is still going, or was killed after step {last_step}.",
        source="every recorder that ends, also by an exception, writes a run_end",
        test="Is its process alive? Then look again later.",
    ),
    Rule(
        code="journal_changed",
        severity=Severity.WARNING,
        confidence="certain",
        find=journal_changed,
        message="The file was changed after its end: its first {lines} lines are not those that line {line} sealed.",
        source="SHA-256 of every byte of them, as run_end recorded it",
        test="Does another copy of the file pass, such as the one that a tracker keeps?",
        limits="Who changed it cannot be told, nor whether it was on purpose.",
    ),
    Rule(
        code="memorization_gap",
        severity=Severity.INFO,
        confidence="low",
        find=memorization_gap,
        message="Perplexity on {split} is {ratio:.2f}x that on the training data ({nat:.2f} nat, from {source}).",
        source="1.5x is the public release's bar, without a source; perplexity does not track the quality of what is "
        "generated (LIMA)",
        thresholds={"gap": GAP},
        hypothesis="The adapter memorises its training data.",
        test="The same gap on a random re-split, or a task metric that still improves, refutes it.",
        limits="Splits that differ in kind have a gap from the start; whether it grows is not judged here.",
    ),
    Rule(
        code="gap_unavailable",
        severity=Severity.INFO,
        confidence="certain",
        find=gap_unavailable,
        message="The gap between held-out and training perplexity is not known: {reason}.",
        source="definition",
        test="Log eval events with ppl or loss for a held-out split.",
    ),
)
