"""How much worse a model does on text it has not seen: held-out perplexity over training perplexity."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from gradience.vnext.signals import Evaluation
from gradience.vnext.types import EvalMetrics

HELD_OUT: Final = ("test", "val", "validation", "eval")  # splits that are not trained on, most telling first

_NEAR: Final = 0.1  # steps further apart than this share of the larger one belong to different models


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio and what it was made of; or None and why."""

    value: float | None = None
    source: str | None = None
    note: str | None = None


def held_out(splits: Sequence[str]) -> str | None:
    """The split to hold against training: one of the usual names, else the first that is not a part of the training."""
    named = next((split for split in HELD_OUT if split in splits), None)
    return named or next((split for split in splits if not split.startswith("train")), None)


def between(test: Sequence[Evaluation], train: Sequence[Evaluation], latest: EvalMetrics) -> Gap:
    """The gap at the latest held-out evaluation; `latest` is the last training loss with its step.

    With perplexity exp(mean token loss), the ratio is exp(test loss - train loss).
    """
    if not test:
        return Gap(note="no held-out evaluation")
    judged = test[-1]
    before = EvalMetrics(loss=judged.train_loss, step=judged.train_loss_step)
    sides = [_nearest(judged.metrics, train), before, latest]
    for side in sides:
        if _log_ppl(side) is not None and _is_near(judged.metrics.step, side.step):
            return _ratio(judged.metrics, side, is_eval=side is sides[0])
    if all(side.loss is None and side.ppl is None for side in sides):
        return Gap(note="no training evaluation or loss")
    if any(_log_ppl(side) is not None for side in sides):
        return Gap(note=f"training was not measured near step {judged.metrics.step}, where the held-out split was")
    return Gap(note="the training perplexity is not a positive finite number")


def _ratio(test: EvalMetrics, train: EvalMetrics, *, is_eval: bool) -> Gap:
    above, below = _log_ppl(test), _log_ppl(train)
    if above is None or below is None:
        is_logged = test.ppl is not None or test.loss is not None
        wrong = "is not a positive finite number" if is_logged else "was not logged"
        return Gap(note=f"the held-out perplexity {wrong}")
    if above - below > 700:  # exp overflows a double above 709
        return Gap(note="the held-out perplexity is too large to be compared")
    source = "ppl" if _is_usable(test.ppl) and _is_usable(train.ppl) else "loss"
    return Gap(value=math.exp(above - below), source=source if is_eval else "train_loss")


def _nearest(test: EvalMetrics, train: Sequence[Evaluation]) -> EvalMetrics:
    def distance(side: Evaluation) -> int:
        return abs((side.metrics.step or 0) - (test.step or 0))

    return min(reversed(train), key=distance).metrics if train else EvalMetrics()


def _is_near(one: int | None, other: int | None) -> bool:
    """Whether two steps can be compared; a step that nobody logged is given the benefit of the doubt."""
    return one is None or other is None or abs(one - other) <= _NEAR * max(one, other)


def _is_usable(ppl: float | None) -> bool:
    return ppl is not None and math.isfinite(ppl) and ppl > 0


def _log_ppl(metrics: EvalMetrics) -> float | None:
    if metrics.ppl is not None and _is_usable(metrics.ppl):
        return math.log(metrics.ppl)
    return metrics.loss if metrics.loss is not None and math.isfinite(metrics.loss) else None
