"""A live run where no terminal is: one line for each interval, evaluation, alert and change of state."""

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final

from gradience.cli import output
from gradience.cli.live import picture
from gradience.cli.live.picture import Condition, Live
from gradience.policy.replay import Mark
from gradience.report.numbers import number
from gradience.report.plain import plain

INTERVAL_S: Final = 10.0
PAST_ALERTS: Final = 10  # of before it was watched


class Ticker:
    """Says what is new; begins with how it stands once everything that was there is read."""

    def __init__(self, interval_s: float = INTERVAL_S, say: Callable[[str], object] = output.lines) -> None:
        self._interval_s = interval_s
        self._say = say
        self._told_at = float("-inf")
        self._told_step: int | None = None
        self._condition: Condition | None = None
        self._run: str | None = None
        self._replaced = 0
        self._known: set[tuple[str, int | None]] = set()

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def show(self, live: Live, evals: Sequence[str]) -> None:
        """Say what there is to say."""
        if live.is_there and not (live.is_caught_up or self._run):
            return  # what is long past is summed up
        for text in self._news(live, evals):
            self._say(plain(text))

    def _news(self, live: Live, evals: Sequence[str]) -> Iterator[str]:
        if live.replaced != self._replaced:
            self._replaced = live.replaced
            yield f"{live.file} was replaced: what was known of it is forgotten"
        if live.seen.run_id != self._run and live.seen.counts:
            yield from self._meet(live)
        else:
            yield from (
                f"eval {picture.evaluation(split, live.seen.evals[split])}"
                for split in evals
                if split in live.seen.evals
            )
            yield from (picture.alert(mark) for mark in self._fresh(live))
        yield from self._progress(live)
        yield from self._changed(live)

    def _meet(self, live: Live) -> Iterator[str]:
        self._run = live.seen.run_id
        self._known.clear()
        yield f"run {live.seen.run_id}  {live.file}"
        fresh = self._fresh(live)
        if len(fresh) > PAST_ALERTS:
            yield f"{len(fresh) - PAST_ALERTS} earlier alerts"
        yield from (picture.alert(mark) for mark in fresh[-PAST_ALERTS:])
        yield from (f"eval {picture.evaluation(split, metrics)}" for split, metrics in live.seen.evals.items())

    def _fresh(self, live: Live) -> list[Mark]:
        fresh = [mark for mark in live.marks if (mark.code, mark.step) not in self._known]
        self._known.update((mark.code, mark.step) for mark in fresh)
        return fresh

    def _progress(self, live: Live) -> Iterator[str]:
        now = time.monotonic()
        if live.seen.last_step in (None, self._told_step) or now - self._told_at < self._interval_s:
            return
        self._told_at, self._told_step = now, live.seen.last_step
        numbers = {"loss": live.seen.train_loss, "grad norm": live.seen.grad_norm}
        told = "".join(f", {name} {number(value)}" for name, value in numbers.items() if value is not None)
        yield f"{picture.progress(live)}{told}"

    def _changed(self, live: Live) -> Iterator[str]:
        now = picture.condition(live)
        if now is not self._condition and (now is not Condition.RUNNING or self._condition is not None):
            yield picture.state(live)
        self._condition = now
