"""The state of one run while its events go by: of fixed size, whatever the length of the run.

After a resume some steps stand twice in the file. What the earlier attempt said at or after the first step of the
later one is forgotten, so that the state is always that of the last attempt.
"""

from collections import deque
from typing import Any, Final

import msgspec

from gradience.vnext import evaluation, gap
from gradience.vnext.config import ConfigSnapshot
from gradience.vnext.mechanic import Mechanic
from gradience.vnext.notices import Notices
from gradience.vnext.record import Record
from gradience.vnext.signals import Evaluation, RunInfo, SignalSnapshot
from gradience.vnext.types import (
    Alert,
    Eval,
    EvalMetrics,
    Metrics,
    RecommendationEvent,
    RunEnd,
    RunStart,
    RunStatus,
    Seal,
    TrainStep,
)

EVALS_KEPT: Final = 64  # by split: enough to find the train evaluation of the same step
NAMES_KEPT: Final = 100  # splits and event names: a run that invents more does not grow the state


class Rewind(msgspec.Struct, frozen=True):
    """From this line on, steps from `step` on are told anew."""

    line: int
    step: int


class RunFold:
    """One run."""

    def __init__(self, first: Record) -> None:
        self.run_id = first.event.run_id
        self.start_line = 0  # of its latest run_start; 0 in a run without one
        self.end_line = 0  # of its latest run_end
        self.rewinds: list[Rewind] = []
        self._first = first
        self._last = first.event
        self._counts: dict[str, int] = {}
        self._train_steps = 0
        self._end: RunEnd | None = None  # of the last attempt
        self._is_overrun = False  # training went on after run_end
        self._first_step: int | None = None
        self._reached: int | None = None  # the last step before the latest start
        self._is_fresh = True  # no step has been seen since that start
        self._is_watchful = True  # the next train_step needs more than to be counted
        self._config: ConfigSnapshot | None = None
        self._meta: dict[str, Any] = {}
        self._train: TrainStep | None = None
        self._loss: TrainStep | None = None  # the latest that has a loss
        self._evals: dict[str, deque[Evaluation]] = {}
        self._notices = Notices()
        self._mechanic = Mechanic()

    def add(self, record: Record) -> list[str] | None:
        """Take the run's next record; what is wrong with it, if anything."""
        event = self._last = record.event
        if type(event) is not TrainStep:
            return self._rare(record)
        self._train_steps += 1
        self._train = event
        if event.loss is not None:
            self._loss = event
        if self._is_watchful or event.nonfinite is not None:
            return self._unusual_step(record, event)
        return None

    @property
    def last_step(self) -> int | None:
        """The last step of training or evaluation in the last attempt."""
        steps = [event.step for event in (self._train, self._loss) if event is not None and event.step is not None]
        steps += [judged[-1].metrics.step for judged in self._evals.values() if judged and judged[-1].metrics.step]
        return max(steps, default=self._reached)

    @property
    def seal(self) -> Seal | None:
        """What the end of the last attempt sealed."""
        return self._end.seal if self._end else None

    def info(self) -> RunInfo:
        """The run in a line."""
        return RunInfo(
            run_id=self.run_id,
            line=self._first.line,
            started=self._first.event.ts,
            starts=self._counts.get(RunStart.name, 0),
            status=self._end.status if self._end else None,
            events=sum(self._counts.values()) + self._train_steps,
            last_step=self.last_step,
        )

    def snapshot(self) -> SignalSnapshot:
        """The run as it looks now."""
        split = gap.held_out([split for split, seen in self._evals.items() if seen])
        test = self._evals[split] if split else deque[Evaluation]()
        train = self._evals.get("train", ())
        latest = EvalMetrics(loss=self._loss.loss, step=self._loss.step) if self._loss else EvalMetrics()
        ratio = gap.between(test, train, latest)
        return SignalSnapshot(
            train=train[-1].metrics if train else latest,
            test=test[-1].metrics if test else EvalMetrics(),
            test_split=split,
            gap=ratio.value,
            gap_source=ratio.source,
            gap_note=ratio.note,
            evals={name: seen[-1].metrics for name, seen in self._evals.items() if seen},
            train_loss=latest.loss,
            train_loss_step=latest.step,
            lr=self._train.lr if self._train else None,
            grad_norm=self._train.grad_norm if self._train else None,
            extras=self._extras(),
            **self._course(),
            **self._notices.fields(),
            **self._mechanic.fields(),
        )

    def _course(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "status": self._end.status if self._end else None,
            "ended": self._end is not None,
            "starts": self._counts.get(RunStart.name, 0),
            "first_step": self._first_step,
            "last_step": self.last_step,
            "first_ts": self._first.event.ts,
            "last_ts": (self._end or self._last).ts,
            "counts": self._counts | ({TrainStep.name: self._train_steps} if self._train_steps else {}),
            "config": self._config,
            "meta": self._meta,
        }

    def _rare(self, record: Record) -> list[str] | None:
        event = record.event
        name = event.name if event.name in self._counts or len(self._counts) < NAMES_KEPT else "other"
        self._counts[name] = self._counts.get(name, 0) + 1
        problems: list[str] = []
        if isinstance(event, RunStart):
            self._start(record.line, event)
        elif isinstance(event, Eval):
            self._evaluate(event, problems)
        elif isinstance(event, Metrics):
            self._mechanic.measure(event)
        elif isinstance(event, Alert):
            self._notices.alert(event)
        elif isinstance(event, RecommendationEvent):
            self._mechanic.advise(event, record.payload)
        elif isinstance(event, RunEnd):
            self._finish(record.line, event, problems)
        self._notices.nonfinite(event, record.line)
        return problems

    def _unusual_step(self, record: Record, event: TrainStep) -> list[str]:
        if self._is_fresh and event.step is not None:
            self._begin(event.step)
        self._notices.nonfinite(event, record.line)
        if self._end is None or self._is_overrun:
            return []
        self._is_overrun = True
        self._is_watchful = self._is_fresh
        return ["train_step after run_end, without a new run_start"]

    def _start(self, line: int, event: RunStart) -> None:
        self._reached = self.last_step
        self.start_line = line
        self._is_fresh = self._is_watchful = True
        self._is_overrun, self._end = False, None
        if event.config:
            self._config = ConfigSnapshot.from_dict(event.config)
        self._meta = self._meta | event.meta

    def _begin(self, step: int) -> None:
        """The first step since a start: what an earlier attempt said from here on is forgotten."""
        self._is_fresh = self._is_watchful = False
        if self._first_step is None:
            self._first_step = step
        if self._reached is None or step > self._reached:
            return
        self.rewinds.append(Rewind(self.start_line, step))
        for split, seen in self._evals.items():
            kept = [judged for judged in seen if judged.metrics.step is None or judged.metrics.step < step]
            self._evals[split] = deque(kept, EVALS_KEPT)
        self._notices.forget(step)
        if self._loss is not self._last:
            self._loss = None

    def _evaluate(self, event: Eval, problems: list[str]) -> None:
        if self._is_fresh and event.step is not None:
            self._begin(event.step)
        judged = Evaluation(
            metrics=evaluation.read(event, problems),
            train_loss=self._loss.loss if self._loss else None,
            train_loss_step=self._loss.step if self._loss else None,
        )
        if event.split in self._evals or len(self._evals) < NAMES_KEPT:
            self._evals.setdefault(event.split, deque(maxlen=EVALS_KEPT)).append(judged)

    def _finish(self, line: int, event: RunEnd, problems: list[str]) -> None:
        self._end, self.end_line = event, line
        self._is_watchful = True
        if event.status not in {status.value for status in RunStatus}:
            problems.append(f"status is {ascii(event.status)[:60]}: expected ok, aborted or error")

    def _extras(self) -> dict[str, Any]:
        """What the public release gives here."""
        config = self._config or ConfigSnapshot()
        return self._mechanic.extras() | {
            "model_name": config.model_name,
            "dataset_name": config.dataset_name,
            "task_profile": config.task_profile.value,
            "lora_r": config.lora.r,
        }
