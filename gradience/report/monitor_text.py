"""A recorded run for the terminal: how it stands, what was measured, what was said."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from gradience.curves import course
from gradience.curves.course import TRAIN
from gradience.curves.curve import Curve
from gradience.evaluation import verification
from gradience.policy import monitor
from gradience.report import finding_text, verification_text
from gradience.report.layout import block, heading, labelled, table
from gradience.report.numbers import MISSING, count, duration, fixed, number, percent
from gradience.report.plain import plain
from gradience.report.sparkline import sparkline
from gradience.vnext.signals import AlertSeen, SignalSnapshot
from gradience.vnext.types import EvalMetrics, Recommendation, Severity

ISSUES_SHOWN: Final = 3
ISSUES_SHOWN_VERBOSE: Final = 20
EXTRAS_SHOWN: Final = 4
SPARK: Final = 40


def render(
    file: str,
    seen: SignalSnapshot,
    found: Sequence[Recommendation],
    curves: Mapping[str, Curve] | None = None,
    *,
    verbose: bool = False,
    encoding: str | None = "utf-8",
) -> str:
    """The whole summary; `found` are our own findings. Evidence and more issues with `verbose`.

    What was found stands first: the rest is there to check it by.
    """
    lines = [f"{heading('Run')} {plain(seen.run_id)}  {plain(file)}", "", *_state(seen)]
    lines += _course(curves or {}, encoding)
    lines += block("Findings", _findings(found, verbose=verbose)) if found else []
    lines += block("Evaluations (latest of each split)", _evals(seen.evals)) if seen.evals else []
    lines += _alerts(seen, told={(one.action, one.severity) for one in found})
    lines += block(_at("LoRA audit", seen.lora_audit_step), _audit(seen.lora_audit)) if seen.lora_audit else []
    lines += _advice(seen, verbose=verbose)
    lines += _verification(seen, verbose=verbose)
    lines += _issues(seen, verbose=verbose)
    return "\n".join(lines)


def _course(curves: Mapping[str, Curve], encoding: str | None) -> list[str]:
    shown = {name: curve for name, curve in curves.items() if name in TRAIN and len(curve.buckets) > 1}
    rows = [_curve(name.replace("_", " "), curve, encoding) for name, curve in shown.items()]
    rows += [
        _curve(f"eval {judged[0]}", curve, encoding)
        for name, curve in curves.items()
        if (judged := course.judged(name)) and judged[1] == "loss" and len(curve.buckets) > 1
    ]
    return block("Course", table(("", "", "last", "lowest"), rows, left=2)[1:]) if rows else []


def _curve(name: str, curve: Curve, encoding: str | None) -> tuple[str, ...]:
    low, high = curve.lowest, curve.highest
    lowest = "" if low is None else f"lowest {number(low.low)} at step {low.low_step}"
    highest = "" if high is None else f"highest {number(high.high)} at step {high.high_step}"
    drawn = sparkline(curve.buckets, SPARK, encoding=encoding).ljust(SPARK)
    return name, drawn, number(curve.end), lowest if name == "loss" or name.startswith("eval ") else highest


def _state(seen: SignalSnapshot) -> list[str]:
    rows = {
        "status": _status(seen),
        "journal": _journal(seen),
        "model": ", ".join(str(name) for name in _model(seen) if name),
        "train": _train(seen),
        "gap": _gap(seen),
        "spectrum": _spectrum(seen),
        "events": ", ".join(f"{total} {name}" for name, total in seen.counts.items()),
    }
    return [line for label, text in rows.items() if text for line in labelled(label, text)]


def _status(seen: SignalSnapshot) -> str:
    planned = seen.config.training.max_steps if seen.config else None
    ending = seen.status if seen.ended else "no run_end"
    step = "" if seen.last_step is None else f", step {seen.last_step}{f' of {planned}' if planned else ''}"
    resumed = f", started {seen.starts} times" if seen.starts > 1 else ""
    return f"{ending}{step}{resumed}{_duration(seen)}"


def _duration(seen: SignalSnapshot) -> str:
    if seen.first_ts is None or seen.last_ts is None:
        return ""
    try:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seen.first_ts))
    except (OverflowError, ValueError, OSError):
        return ""  # a time that is no time
    return f", {duration(max(0.0, seen.last_ts - seen.first_ts))} from {began}"


def _journal(seen: SignalSnapshot) -> str:
    seal = seen.seal
    if seal is None or seal.is_intact:
        return "sealed, intact" if seal else ""
    return f"changed after its end: line {seal.line} sealed its first {seal.lines} lines, and they are others now"


def _model(seen: SignalSnapshot) -> tuple[str | None, ...]:
    config = seen.config
    if config is None:
        return ()
    rank, alpha = config.lora.r, config.lora.alpha
    scale = "" if alpha is None else f" alpha={number(alpha)}"
    return config.model_name, config.dataset_name, None if rank is None else f"r={rank}{scale}"


def _train(seen: SignalSnapshot) -> str:
    lr = seen.lr if isinstance(seen.lr, list) else [seen.lr]
    parts = {
        "loss": number(seen.train_loss),
        "lr": " ".join(number(rate) for rate in lr),
        "grad norm": number(seen.grad_norm),
    }
    told = ", ".join(f"{name} {text}" for name, text in parts.items() if text != MISSING)
    return f"{told} at step {seen.train_loss_step}" if told and seen.train_loss_step is not None else told


def _gap(seen: SignalSnapshot) -> str:
    if seen.gap is None:
        return ""
    return f"{seen.gap:.3g}x ({seen.test_split} perplexity over that of training, from {seen.gap_source})"


def _spectrum(seen: SignalSnapshot) -> str:
    parts = {
        "stable rank": fixed(seen.stable_rank_mean),
        "utilization": percent(seen.utilization_mean),
        "dominance": number(seen.dominance_act_mean),
        "kappa": number(seen.kappa_mean),
    }
    return ", ".join(f"{name} {text}" for name, text in parts.items() if text != MISSING)


def _evals(evals: Mapping[str, EvalMetrics]) -> list[str]:
    rows = [(split, *_eval(metrics)) for split, metrics in evals.items()]
    return table(("split", "step", "loss", "ppl", "accuracy", "n", "more"), rows)


def _eval(metrics: EvalMetrics) -> tuple[str, ...]:
    numbers = [(key, value) for key, value in metrics.extras.items() if isinstance(value, int | float)]
    more = ", ".join(f"{key} {number(value)}" for key, value in numbers[:EXTRAS_SHOWN])
    return (
        MISSING if metrics.step is None else str(metrics.step),
        number(metrics.loss),
        number(metrics.ppl),
        percent(metrics.accuracy),
        MISSING if metrics.n is None else str(metrics.n),
        f"{more}, ..." if len(numbers) > EXTRAS_SHOWN else more,
    )


def _alerts(seen: SignalSnapshot, told: Collection[tuple[str, Severity]]) -> list[str]:
    """The recorded alerts, but those that a finding says the same of."""
    shown = [alert for alert in seen.alerts if (alert.code, alert.severity) not in told]
    return block("Alerts", [line for alert in shown for line in _alert(alert)]) if shown else []


def _alert(alert: AlertSeen) -> list[str]:
    times = f" x{alert.count}" if alert.count > 1 else ""
    title = f"  {finding_text.severity(alert.severity)} {plain(alert.code)}{times}{_at('', alert.step)}"
    return [title, *labelled("", alert.message, width=2)]


def _audit(metrics: Mapping[str, Any]) -> list[str]:
    def numeric(key: str) -> float | None:
        value = metrics.get(key)
        return value if isinstance(value, int | float) else None

    pairs = [
        f"k@{level} {number(numeric(f'energy_rank_{level}_p50'))}/{number(numeric(f'energy_rank_{level}_p90'))}"
        for level in (90, 95, 99)
        if numeric(f"energy_rank_{level}_p90") is not None
    ]
    size = f"{count(numeric('total_lora_params'))} parameters in {count(numeric('n_layers'))} modules"
    trained = numeric("current_r")
    ranks = f"energy ranks p50/p90: {', '.join(pairs)}{f' of {number(trained)}' if trained is not None else ''}"
    return labelled("size", size) + (labelled("ranks", ranks) if pairs else [])


def _advice(seen: SignalSnapshot, *, verbose: bool) -> list[str]:
    if seen.recommendation is None:
        return []
    verdict = seen.recommendation.get("verdict")
    confidence = seen.recommendation.get("confidence")
    told = [] if verdict is None else labelled("verdict", f"{verdict} (confidence {confidence})")
    told += _findings(monitor.recorded(seen), verbose=verbose)
    return block(_at("Recorded advice", seen.recommendation_step), told)


def _verification(seen: SignalSnapshot, *, verbose: bool) -> list[str]:
    found = verification.read(seen.verification)
    if found is None:
        return []
    told = [*labelled("metric", found.metric), *verification_text.rows(found)]
    return block(_at("Verification", seen.verification_step), told + _findings(monitor.verified(seen), verbose=verbose))


def _findings(found: Sequence[Recommendation], *, verbose: bool) -> list[str]:
    shown = [finding_text.full(one, evidence=True) if verbose else finding_text.brief(one) for one in found]
    return [f"  {line}" for lines in shown for line in lines]


def _issues(seen: SignalSnapshot, *, verbose: bool) -> list[str]:
    if not seen.issue_count:
        return []
    shown = seen.issues[: ISSUES_SHOWN_VERBOSE if verbose else ISSUES_SHOWN]
    lines = [line for issue in shown for line in labelled("-", str(issue), width=2)]
    rest = seen.issue_count - len(shown)
    more = [f"  and {rest} more{'' if verbose else ' (--verbose shows more)'}"] if rest else []
    return block(f"Lines that could not be read as they are: {seen.issue_count}", [*lines, *more])


def _at(title: str, step: int | None) -> str:
    return title if step is None else f"{title} (step {step})"
