"""What watches a run while it goes on: online state machines, one for each rule, each a few floats.

The same events give the same alerts, wherever a run is watched: in the recorder, or over its file afterwards. The
state is plain data, so that a watch can be laid down and taken up again.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gradience.policy import catalogue
from gradience.policy.detectors import training
from gradience.policy.detectors.evaluations import (
    SPLITS,
    TRAINED,
    EvalRegression,
    Judged,
    MemorizationGap,
    NeverImproved,
    Overfitting,
)
from gradience.policy.detectors.smoothing import Level
from gradience.policy.detectors.training import (
    GradExplosion,
    LossDiverged,
    LossNonfinite,
    LossPlateau,
    LossSpike,
)
from gradience.policy.rule import Match, Policy

SHARE_QUIET: Final = 0.1  # of the planned run that a rule says nothing after it spoke
QUIET: Final = 100  # steps of it, where there is no plan


class State(msgspec.Struct):
    """All that is known of a run: one field for each rule, by its code, and what they share."""

    loss_nonfinite: LossNonfinite = msgspec.field(default_factory=LossNonfinite)
    loss_diverged: LossDiverged = msgspec.field(default_factory=LossDiverged)
    loss_spike: LossSpike = msgspec.field(default_factory=LossSpike)
    grad_explosion: GradExplosion = msgspec.field(default_factory=GradExplosion)
    loss_plateau: LossPlateau = msgspec.field(default_factory=LossPlateau)
    overfitting: Overfitting = msgspec.field(default_factory=Overfitting)
    memorization_gap: MemorizationGap = msgspec.field(default_factory=MemorizationGap)
    eval_regression: EvalRegression = msgspec.field(default_factory=EvalRegression)
    never_improved: NeverImproved = msgspec.field(default_factory=NeverImproved)
    planned: int | None = None
    train: Level = msgspec.field(default_factory=Level)  # the slow mean of the training loss
    points: int = 0
    last_step: int | None = None
    reached: int | None = None  # the last step before the latest start, until the first one after it
    evaluated: dict[str, int] = {}  # the last step of each split
    quiet_until: dict[str, int] = {}  # by code and severity


OVER_STEPS: Final = ("loss_nonfinite", "loss_diverged", "loss_spike", "grad_explosion", "loss_plateau")
OVER_EVALS: Final = ("overfitting", "memorization_gap", "eval_regression", "never_improved")
AT_THE_END: Final = ("eval_regression", "never_improved")
CODES: Final = (*OVER_STEPS, *OVER_EVALS)


class Monitors:
    """Every detector over one run; `policy` has their thresholds, and may switch them off."""

    def __init__(self, policy: Policy | None = None, state: Mapping[str, Any] | None = None) -> None:
        self._policy = policy or catalogue.shipped()
        self._take_over(msgspec.convert(state or {}, State))

    def state(self) -> dict[str, Any]:
        """The state as plain data, for `Monitors(policy, state)`."""
        plain: dict[str, Any] = msgspec.to_builtins(self._state)
        return plain

    def observe(self, event_name: str, step: int | None, payload: Mapping[str, Any], /) -> list[dict[str, Any]]:
        """Take the next event of the run; the payloads of the alerts that it fires, hardly ever any."""
        if event_name == "train_step":
            return self._train_step(step, payload)
        if event_name == "eval":
            return self._evaluate(step, payload)
        if event_name == "run_start":
            self._plan(payload)
        elif event_name == "run_end":
            return self._end(step)
        return []

    def _train_step(self, step: int | None, payload: Mapping[str, Any]) -> list[dict[str, Any]]:
        state, fired = self._state, []
        if state.reached is not None:
            self._resume(step)
        state.points += 1
        if step is not None:
            state.last_step = step
        point = training.point(step, payload, state.planned, state.train)
        for code, see, limits in self._over_steps:
            match = see(point, limits)
            if match is not None:
                fired.append((code, match))
        return self._said(step, fired) if fired else []

    def _evaluate(self, step: int | None, payload: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._state.reached is not None:
            self._resume(step)
        fired = self._broken(step, payload)
        judged = self._judged(step, payload)
        if judged is not None:
            for code in filter(self._is_heard, OVER_EVALS):
                match = getattr(self._state, code).see(judged, self._policy.thresholds(code))
                if match is not None:
                    fired.append((code, match))
        return self._said(step, fired)

    def _end(self, step: int | None) -> list[dict[str, Any]]:
        fired = []
        for code in filter(self._is_heard, AT_THE_END):
            match = getattr(self._state, code).end(self._policy.thresholds(code))
            if match is not None:
                fired.append((code, match))
        return self._said(step, fired)

    def _plan(self, payload: Mapping[str, Any]) -> None:
        config = payload.get("config")
        planned = config.get("training") if isinstance(config, Mapping) else None
        steps = training.number(planned.get("max_steps")) if isinstance(planned, Mapping) else None
        if steps is not None and 0 < steps < math.inf:
            self._state.planned = int(steps)
        self._state.reached = self._state.last_step

    def _resume(self, step: int | None) -> None:
        """The first step after a start: if it was reached before, it is told anew, with all that follows it.

        A loss of then is no divergence from the best one, so that the detectors over steps begin anew.
        """
        state, reached = self._state, self._state.reached
        state.reached = None
        if step is None or reached is None or step > reached:
            return
        fresh = State(planned=state.planned, points=state.points)
        for name in ("overfitting", "eval_regression", "never_improved"):
            kept = {key: best for key, best in getattr(state, name).best.items() if best.is_left(step)}
            getattr(fresh, name).best = kept
        fresh.overfitting.train = dict.fromkeys(fresh.overfitting.best)
        fresh.overfitting.above = dict.fromkeys(fresh.overfitting.best, 0)
        self._take_over(fresh)

    def _take_over(self, state: State) -> None:
        self._state = state
        steps = [code for code in OVER_STEPS if self._is_heard(code)]
        self._over_steps = [(code, getattr(state, code).see, self._policy.thresholds(code)) for code in steps]

    def _judged(self, step: int | None, payload: Mapping[str, Any]) -> Judged | None:
        """An evaluation that tells something new about a split that was held out."""
        split, metrics, seen = payload.get("split"), payload.get("metrics"), self._state.evaluated
        if not isinstance(split, str) or not isinstance(metrics, Mapping) or step is None or split in TRAINED:
            return None
        if step <= seen.get(split, -1) or (split not in seen and len(seen) >= SPLITS):
            return None
        seen[split] = step
        self._state.last_step = max(step, self._state.last_step or 0)
        numbers = {
            name: value for name in list(metrics)[:SPLITS] if (value := training.number(metrics[name])) is not None
        }
        n = numbers.pop("n", None)
        loss = numbers.get("loss")
        if loss is None and (ppl := numbers.get("ppl")) is not None and ppl > 0:
            loss = math.log(ppl)
        has_risen = self._state.loss_diverged.above > 0  # then a training loss is nothing to set others beside
        train = None if has_risen else self._state.train.value
        return Judged(split, step, loss, numbers, int(n) if n is not None and math.isfinite(n) else None, train)

    def _broken(self, step: int | None, payload: Mapping[str, Any]) -> list[tuple[str, Match]]:
        """A loss or perplexity of an evaluation that is no finite number."""
        split, metrics = payload.get("split"), payload.get("metrics")
        if not isinstance(metrics, Mapping) or not self._is_heard("loss_nonfinite"):
            return []
        for name in ("loss", "ppl"):
            value = training.number(metrics.get(name))
            if value is not None and not math.isfinite(value):
                facts = {"name": f"eval/{split}/{name}", "value": training.word(value), "step": step, "count": 1}
                return [("loss_nonfinite", Match(facts=facts))]
        return []

    def _is_heard(self, code: str) -> bool:
        return self._policy.rules[code].enabled

    def _said(self, step: int | None, fired: Iterable[tuple[str, Match]]) -> list[dict[str, Any]]:
        """The alerts, but those of a rule that spoke a moment ago."""
        return [alert for code, match in fired if (alert := self._alert(code, match, step)) is not None]

    def _alert(self, code: str, match: Match, step: int | None) -> dict[str, Any] | None:
        finding = self._policy.rules[code].finding(match)
        key, until = f"{code}/{finding.severity.value}", self._state.quiet_until
        at = self._state.points if step is None else step
        if at < until.get(key, 0):
            return None
        planned = self._state.planned
        until[key] = at + (max(1, int(planned * SHARE_QUIET)) if planned else max(QUIET, at // 10))
        state = msgspec.to_builtins(getattr(self._state, code))
        return {
            "severity": finding.severity.value,
            "code": code,
            "message": finding.message,
            "context": {**finding.evidence, "state": state},
        }
