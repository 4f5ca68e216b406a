"""A recorded run as a page: how it stands, what was found, its charts, then tables of everything else."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradience import __version__
from gradience.curves.curve import Curve
from gradience.evaluation import verification
from gradience.policy import monitor
from gradience.policy.replay import Mark
from gradience.report import runs, verification_text
from gradience.report.html import audit_section, course_charts, rendering
from gradience.report.html.findings import findings
from gradience.report.html.page import Page, Pair, Table
from gradience.report.html.words import cut, told
from gradience.report.numbers import MISSING, count, duration, number
from gradience.report.runs import Best
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.types import EvalMetrics, Recommendation

ROWS_SHOWN: Final = 200  # of a table
NAME_SHOWN: Final = 80  # of its name
ALERTS_SHOWN: Final = 50
READING: Final = (
    "Lines of training loss and gradient norm are exponentially weighted means (weight 0.05 for each logged point); "
    "behind them stand the logged points, or the band that holds all of them. A mark stands where an alert fired."
)
_KINDS: Final = {"ok": "ok", "error": "error", "aborted": "warning"}


def render(
    place: str,
    seen: SignalSnapshot,
    curves: Mapping[str, Curve],
    marks: Sequence[Mark],
    found: Sequence[Recommendation],
) -> str:
    """The report as one HTML file."""
    return rendering.render(page(place, seen, curves, marks, found))


def page(
    place: str,
    seen: SignalSnapshot,
    curves: Mapping[str, Curve],
    marks: Sequence[Mark],
    found: Sequence[Recommendation],
) -> Page:
    """What the report says; `found` are our own findings."""
    tables = [
        _evaluations(seen, runs.best_evals(curves)),
        _alerts(marks),
        *_audit(seen),
        _verification(seen),
        _settings(seen),
        _environment(seen),
        _events(seen),
    ]
    return Page(
        title=seen.run_id or place,
        status=seen.status or "no run_end",
        status_kind=_KINDS.get(seen.status or "", "warning"),
        subtitle=_subtitle(seen),
        source=f"{place}{_began(seen)}",
        tiles=_tiles(seen, curves),
        findings=[*findings(found), *findings(monitor.recorded(seen), origin="recorded by the mechanic")],
        figures=course_charts.figures(curves, marks),
        tables=[one for one in tables if one is not None],
        reading=READING,
        made=f"Made by gradience {__version__} from the telemetry alone.",
    )


def _subtitle(seen: SignalSnapshot) -> str:
    config = seen.config
    if config is None:
        return ""
    rank, alpha = config.lora.r, config.lora.alpha
    lora = None if rank is None else f"LoRA r={rank}{'' if alpha is None else f', alpha={number(alpha)}'}"
    return " · ".join(part for part in (config.model_name, config.dataset_name, lora) if part)


def _began(seen: SignalSnapshot) -> str:
    try:
        return "" if seen.first_ts is None else time.strftime(", %Y-%m-%d %H:%M:%S", time.localtime(seen.first_ts))
    except (OverflowError, ValueError, OSError):
        return ""  # a time that is no time


def _tiles(seen: SignalSnapshot, curves: Mapping[str, Curve]) -> list[Pair]:
    planned = seen.config.training.max_steps if seen.config else None
    step = MISSING if seen.last_step is None else f"{seen.last_step:,}{f' of {planned:,}' if planned else ''}"
    took = max(0.0, (seen.last_ts or 0.0) - (seen.first_ts or 0.0))
    tiles = [Pair("steps", step), Pair("time", duration(took)), Pair("train loss", number(seen.train_loss))]
    for split, best in list(runs.best_evals(curves).items())[:2]:
        tiles.append(Pair(f"best {split} {best.metric}, at step {best.step:,}", number(best.value)))
    return [*tiles, *([Pair("held-out over train perplexity", f"{seen.gap:.3g}x")] if seen.gap is not None else [])]


def _evaluations(seen: SignalSnapshot, best: Mapping[str, Best]) -> Table | None:
    rows = [_evaluation(split, metrics, best.get(split)) for split, metrics in list(seen.evals.items())[:ROWS_SHOWN]]
    header = ("split", "step", "loss", "perplexity", "accuracy", "n", "best")
    return Table(title="Evaluations, latest of each split", header=header, rows=rows) if rows else None


def _evaluation(split: str, metrics: EvalMetrics, best: Best | None) -> list[str]:
    return [
        split,
        MISSING if metrics.step is None else f"{metrics.step:,}",
        *(number(value) for value in (metrics.loss, metrics.ppl, metrics.accuracy)),
        MISSING if metrics.n is None else f"{metrics.n:,}",
        MISSING if best is None else f"{best.metric} {number(best.value)} at step {best.step:,}",
    ]


def _alerts(marks: Sequence[Mark]) -> Table | None:
    rows = [
        [MISSING if one.step is None else f"{one.step:,}", one.severity.value, one.code, cut(one.message)]
        for one in marks[:ALERTS_SHOWN]
    ]
    more = len(marks) - len(rows)
    header = ("step", "severity", "code", "message")
    rest = f"And {more} more." if more else ""
    return Table(title="Alerts", header=header, rows=rows, more=rest, is_wide=True) if rows else None


def _audit(seen: SignalSnapshot) -> list[Table]:
    """The latest audit of the run's adapter."""
    record = audit_section.read(seen.lora_audit)
    if record is None:
        return []
    advice = seen.recommendation or {}
    step = "" if seen.lora_audit_step is None else f" at step {seen.lora_audit_step:,}"
    verdict = f" Verdict: {advice['verdict']}." if advice.get("verdict") else ""
    text = f"{audit_section.told(record)}{step}.{verdict}"
    return audit_section.tables(record, advice, "Audit of the adapter", text)


def _verification(seen: SignalSnapshot) -> Table | None:
    found = verification.read(seen.verification)
    if found is None:
        return None
    facts = {"metric": found.metric, **verification_text.facts(found), "verdict": found.verified}
    return Table(title="Verification of the compressed adapter", rows=list(facts.items()), is_wide=True)


def _settings(seen: SignalSnapshot) -> Table | None:
    return _listed("Configuration", dict(runs.flat(seen.config.to_dict())) if seen.config else {})


def _environment(seen: SignalSnapshot) -> Table | None:
    return _listed("Environment", dict(runs.flat(seen.meta)))


def _listed(title: str, values: Mapping[str, Any]) -> Table | None:
    rows = [[key[:NAME_SHOWN], told(value)] for key, value in list(values.items())[:ROWS_SHOWN]]
    more = len(values) - len(rows)
    return Table(title=title, rows=rows, more=f"And {more} more." if more else "", is_wide=True) if rows else None


def _events(seen: SignalSnapshot) -> Table:
    issues = [[f"line {issue.line}", cut(issue.message)] for issue in seen.issues[:ALERTS_SHOWN]]
    counted = ", ".join(f"{count(total)} {name}" for name, total in seen.counts.items())
    more = f"{seen.issue_count:,} lines could not be read as they are." if seen.issue_count else ""
    return Table(title="Events", text=f"{counted}.{_seal(seen)}", rows=issues, more=more, is_wide=True)


def _seal(seen: SignalSnapshot) -> str:
    if seen.seal is None:
        return ""
    return " The journal is sealed, intact." if seen.seal.is_intact else " The journal was changed after its end."
