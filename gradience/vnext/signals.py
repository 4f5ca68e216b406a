"""What a telemetry file says about a run, as records: the result of `summary`, the input of policies and reports."""

from typing import Any

import msgspec

from gradience.vnext.config import ConfigSnapshot
from gradience.vnext.types import EvalMetrics, Severity


class Issue(msgspec.Struct, frozen=True):
    """Something wrong with one line of the file; lines count from 1."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a file. `starts` above 1 means that it was resumed; `status` is None while it has not ended."""

    run_id: str
    line: int  # of its first event
    started: float  # Unix seconds of its first event
    starts: int = 0
    status: str | None = None
    events: int = 0
    last_step: int | None = None

    @property
    def ended(self) -> bool:
        """Whether its last attempt wrote a `run_end`."""
        return self.status is not None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation, and the training loss that had last been logged when it was made."""

    metrics: EvalMetrics
    train_loss: float | None = None
    train_loss_step: int | None = None


class AlertSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The alerts of one severity and code: how many there were, and the latest of them."""

    severity: Severity
    code: str
    message: str
    count: int = 1
    first_step: int | None = None
    step: int | None = None
    context: dict[str, Any] = {}


class NonfiniteSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Where a number that is not finite was first seen; `name` is such as `train_step/loss` or `eval/test/ppl`."""

    name: str
    value: str  # NaN, Infinity or -Infinity
    step: int | None
    line: int
    count: int = 1


class SealSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The seal that the `run_end` on one line put on the `lines` before it, and whether they are still those."""

    line: int
    lines: int
    is_intact: bool


class SignalSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one run looks like from its telemetry, in its last attempt.

    `train` and `test` are empty when there was no such evaluation. `test` is the latest of the split `test_split`,
    the first that exists of test, val, validation, eval; `train` falls back to the latest training loss. `gap` is
    test perplexity over train perplexity, None with the reason in `gap_note`; `gap_source` says what it was made of:
    "ppl" as logged, "loss" (exp of the difference), or "train_loss" (the same, against the training loss).
    """

    run_id: str | None = None
    status: str | None = None  # of its run_end
    ended: bool = False
    seal: SealSeen | None = None  # of its run_end, where somebody checked it
    starts: int = 0
    first_step: int | None = None
    last_step: int | None = None
    first_ts: float | None = None
    last_ts: float | None = None  # of its run_end, which audits may follow; else of its last line
    counts: dict[str, int] = {}  # events by name
    config: ConfigSnapshot | None = None
    meta: dict[str, Any] = {}

    train: EvalMetrics = EvalMetrics()
    test: EvalMetrics = EvalMetrics()
    test_split: str | None = None
    gap: float | None = None
    gap_source: str | None = None
    gap_note: str | None = None
    evals: dict[str, EvalMetrics] = {}  # the latest by split
    train_loss: float | None = None
    train_loss_step: int | None = None
    lr: float | list[float | None] | None = None
    grad_norm: float | None = None

    stable_rank_mean: float | None = None
    utilization_mean: float | None = None
    dominance_act_mean: float | None = None
    kappa_mean: float | None = None
    lora_audit: dict[str, Any] | None = None  # the metrics of the latest audit, the one of the highest step
    lora_audit_step: int | None = None
    recommendation: dict[str, Any] | None = None  # the payload of the latest advice, chosen alike
    recommendation_step: int | None = None
    verification: dict[str, Any] | None = None  # the metrics of the latest one, chosen alike
    verification_step: int | None = None

    alerts: tuple[AlertSeen, ...] = ()
    alert_counts: dict[str, int] = {}  # by severity
    nonfinite: tuple[NonfiniteSeen, ...] = ()
    issues: tuple[Issue, ...] = ()  # of the whole file, the first ones
    issue_count: int = 0
    extras: dict[str, Any] = {}
