"""Recorded runs side by side: what is kept of each, the settings in which they differ, and the document of both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gradience.curves import course
from gradience.curves.curve import Curve
from gradience.policy import detected
from gradience.vnext.signals import AlertSeen, SignalSnapshot
from gradience.vnext.types import Recommendation, Severity

SCHEMA: Final = "gradience.runs/v1"
JUDGES: Final = ("loss", "ppl", "accuracy")  # what the best evaluation of a split goes by: the first of these it has
HIGHER_IS_BETTER: Final = frozenset({"accuracy"})


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The best evaluation of a split, by one of its metrics."""

    metric: str
    value: float
    step: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded run in a row; `error` says why nothing else is known. `alerts` counts by severity."""

    file: str
    run_id: str | None = None
    status: str | None = None
    step: int | None = None
    planned_steps: int | None = None
    train_loss: float | None = None
    best_train_loss: float | None = None
    best_train_loss_step: int | None = None
    evals: dict[str, Best] = {}
    alerts: dict[str, int] = {}
    verdict: str | None = None  # of its latest audit
    worst: str | None = None  # the code of the worst finding, and its severity
    worst_severity: Severity | None = None
    codes: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    error: str | None = None


class Course(msgspec.Struct, frozen=True):
    """A run in a row, and the curves behind it."""

    run: Run
    curves: Mapping[str, Curve]


def run(
    file: str,
    seen: SignalSnapshot,
    curves: Mapping[str, Curve],
    found: Sequence[Recommendation],
    fired: Sequence[AlertSeen] = (),
) -> Run:
    """The row of a run; `found` are its findings, worst first, `fired` the alerts that detectors raised over it."""
    lowest = curves["loss"].lowest if "loss" in curves else None
    return Run(
        file=file,
        run_id=seen.run_id,
        status=seen.status,
        step=seen.last_step,
        planned_steps=seen.config.training.max_steps if seen.config else None,
        train_loss=seen.train_loss,
        best_train_loss=lowest.low if lowest else None,
        best_train_loss_step=lowest.low_step if lowest else None,
        evals=best_evals(curves),
        alerts=detected.counted(fired, seen.alerts),
        verdict=_verdict(seen),
        worst=found[0].action if found else None,
        worst_severity=found[0].severity if found else None,
        codes=tuple(one.action for one in found),
        config=dict(flat(seen.config.to_dict())) if seen.config else {},
    )


def best_evals(curves: Mapping[str, Curve]) -> dict[str, Best]:
    """The best evaluation of each split."""
    splits: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        if (judged := course.judged(name)) and curve.buckets:
            split, metric = judged
            splits.setdefault(split, {})[metric] = curve
    return {split: found for split, metrics in splits.items() if (found := _best(metrics)) is not None}


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs: the value that each of them has."""
    known = [one.config for one in runs]
    keys = dict.fromkeys(key for config in known for key in config)
    columns = {key: [config.get(key) for config in known] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def document(runs: Sequence[Run]) -> dict[str, Any]:
    """What `--json` prints of several runs."""
    rows = [{key: value for key, value in msgspec.to_builtins(one).items() if key != "config"} for one in runs]
    return {"schema": SCHEMA, "runs": rows, "differing_settings": differing(_known(runs))}


def _known(runs: Sequence[Run]) -> list[Run]:
    return [one for one in runs if one.error is None]


def _best(metrics: Mapping[str, Curve]) -> Best | None:
    metric = next((one for one in JUDGES if one in metrics), None)
    if metric is None:
        return None
    curve = metrics[metric]
    if metric in HIGHER_IS_BETTER:
        return Best(metric=metric, value=top.high, step=top.high_step) if (top := curve.highest) else None
    return Best(metric=metric, value=low.low, step=low.low_step) if (low := curve.lowest) else None


def _verdict(seen: SignalSnapshot) -> str | None:
    verdict = (seen.recommendation or {}).get("verdict")
    return verdict if isinstance(verdict, str) else None


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The settings that say something, under their dotted names; `extras` belong where they stand."""
    for key, value in settings.items():
        name = above if key == "extras" else f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif value not in (None, [], ""):
            yield name, value
