"""What a finished curve shows, looked at as a whole: medians and means over windows, none of the detectors' means.

Each criterion says whether its fault is there, and from which step on at the latest it can be seen.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Final

from tests.benchmarks.curves_of import Curve

Criterion = Callable[[Curve], int | None]  # the step at which the fault begins; None without one


def loss_nonfinite(curve: Curve) -> int | None:
    """A loss or norm that is not finite."""
    pairs = zip(curve.loss, curve.grad_norm, strict=True)
    return next((step for step, pair in enumerate(pairs, 1) if not all(map(math.isfinite, pair))), None)


def loss_diverged(curve: Curve) -> int | None:
    """The median of the last 30 losses lies a quarter and 0.1 above the lowest median of 31 in a row."""
    loss = _finite(curve.loss)
    levels = [median(loss[at : at + 31]) for at in range(max(0, len(loss) - 30))]
    if not levels or median(loss[-30:]) <= 1.25 * min(levels) + 0.1:
        return None
    lowest = levels.index(min(levels))
    bar = 1.2 * min(levels) + 0.1
    return next((lowest + at + 16 for at, level in enumerate(levels[lowest:]) if level > bar), None)


def loss_spike(curve: Curve) -> int | None:
    """One loss is 8 median deviations above the 40 before it, and half as high again."""
    loss = _finite(curve.loss)
    for at in range(40, len(loss)):
        usual = median(loss[at - 40 : at])
        scatter = 1.4826 * median(abs(one - usual) for one in loss[at - 40 : at])
        if loss[at] > usual + 8 * scatter and loss[at] > 1.5 * usual:
            return at + 1
    return None


def grad_explosion(curve: Curve) -> int | None:
    """One norm is ten times the median of the 40 before it."""
    norm = _finite(curve.grad_norm)
    return next((at + 1 for at in range(40, len(norm)) if norm[at] >= 10 * median(norm[at - 40 : at])), None)


def loss_plateau(curve: Curve) -> int | None:
    """In a quarter of the run the means of both halves are within 0.5 % of each other, at half of the peak rate."""
    quarter = curve.steps // 4
    peak = max(curve.lr)
    for end in range(quarter, curve.steps + 1):
        window = curve.loss[end - quarter : end]
        first, second = fmean(window[: quarter // 2]), fmean(window[quarter // 2 :])
        if curve.lr[end - 1] >= 0.5 * peak and abs(first - second) < 0.005 * first:
            return end
    return None


def overfitting(curve: Curve) -> int | None:
    """Three evaluations after the lowest are 0.02 and 2 % above it, and the mean training loss is lower since."""
    losses = _evals(curve)
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    bar = max(0.02, 0.02 * losses[lowest]) if losses else 0.0
    above = [at for at in range(lowest + 1, len(losses)) if losses[at] > losses[lowest] + bar]
    if len(above) < 3:
        return None
    best = int(curve.evals[lowest][0])
    before, after = curve.loss[max(0, best - 15) : best + 15], curve.loss[int(curve.evals[above[0]][0]) :]
    falls = bool(before and after) and fmean(after) < fmean(before)
    return int(curve.evals[above[0]][0]) if falls else None


def memorization_gap(curve: Curve) -> int | None:
    """Held-out less training loss (mean of 20 steps) ends above 0.405, and grew from each third to the next."""
    gaps = [(int(step), loss - fmean(curve.loss[max(0, int(step) - 20) : int(step)])) for step, loss, *_ in curve.evals]
    if len(gaps) < 6 or not all(math.isfinite(gap) for _, gap in gaps):
        return None
    third = len(gaps) // 3
    means = [fmean(gap for _, gap in gaps[at * third : (at + 1) * third]) for at in range(3)]
    if not (means[0] < means[1] < means[2] and gaps[-1][1] > 0.405):
        return None
    return next(step for step, gap in gaps if gap > 0.405)


def eval_regression(curve: Curve) -> int | None:
    """The accuracy ends one standard error and 1 % below its best."""
    best = max(accuracy for _, _, accuracy, _ in curve.evals)
    _, _, last, n = curve.evals[-1]
    return curve.steps if best - last > max(math.sqrt(best * (1 - best) / n), 0.01 * best) else None


def never_improved(curve: Curve) -> int | None:
    """No evaluation is half a percent below the first."""
    losses = _evals(curve)
    return curve.steps if len(losses) > 2 and min(losses[1:]) > 0.995 * losses[0] else None


CRITERIA: Final[dict[str, Criterion]] = {
    one.__name__: one
    for one in (
        loss_nonfinite, loss_diverged, loss_spike, grad_explosion, loss_plateau,
        overfitting, memorization_gap, eval_regression, never_improved,
    )
}  # fmt: skip


def _finite(values: Sequence[float]) -> list[float]:
    """Up to the first that is not."""
    broken = (at for at, value in enumerate(values) if not math.isfinite(value))
    return list(values[: next(broken, len(values))])


def _evals(curve: Curve) -> list[float]:
    return _finite([loss for _, loss, *_ in curve.evals])
