"""The outcomes as tables: what each rule gets right, and what following it costs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import mean, median, quantiles
from typing import Final, NamedTuple

from tests.benchmarks.rank_advice.experiment import Outcome

PER_MODULE: Final = "Gradience, per module"  # every adapter, whether or not there is an alarm
SILENT: Final = ("starved", "exact", "senseless", "random")  # the kinds of which no rule should say "compress"


class Cut(NamedTuple):
    """The share of parameters that a cut leaves, and the points of the way that are lost with it."""

    share: float
    lost: float


def alarms(outcomes: Sequence[Outcome]) -> list[str]:
    """False and missed alarms of each rule, a Markdown table."""
    rows = [[rule, *_alarms(outcomes, rule)] for rule in _rules(outcomes)]
    return _table(["rule", *(f"false: {kind}" for kind in SILENT), "missed: ample"], rows)


def costs(outcomes: Sequence[Outcome]) -> list[str]:
    """What is lost on held-out text at the suggested rank, over trained adapters that a rule raises an alarm for."""
    trained = [one for one in outcomes if one.job.labels in ("clean", "noisy")]
    rows = [[rule, *_cost(_alarmed(trained, rule))] for rule in _rules(outcomes)]
    rows.append(
        [PER_MODULE, *_cost([Cut(one.pooled.share, 100 * (one.closed - one.pooled.closed)) for one in trained])]
    )
    header = ["rule", "adapters", "parameters kept", "lost: median", "lost: p90", "lost: worst", "lost > 2 points"]
    return _table(header, rows)


def directly(outcomes: Sequence[Outcome]) -> list[str]:
    """Compressing the adapter of the largest rank beside training at the lower rank: how much of the way each goes."""
    trained = [one for one in outcomes if one.job.labels in ("clean", "noisy")]
    largest = max(one.job.r for one in trained)
    rows = []
    for labels, shape, k in sorted({(one.job.labels or "", one.job.shape, one.job.k) for one in trained}):
        group = [one for one in trained if (one.job.labels, one.job.shape, one.job.k) == (labels, shape, k)]
        cells = [_pair(group, r, largest) for r in sorted({one.job.r for one in group} - {largest})]
        rows.append(
            [f"{labels}, {shape}, {k}", *cells, f"{mean(one.closed for one in group if one.job.r == largest):.1%}"]
        )
    ranks = sorted({one.job.r for one in trained} - {largest})
    return _table(["labels, spectrum, planted rank", *(f"rank {r}" for r in ranks), f"rank {largest}"], rows)


def _alarms(outcomes: Sequence[Outcome], rule: str) -> list[str]:
    fired, total = Counter[str](), Counter(one.job.kind for one in outcomes)
    fired.update(one.job.kind for one in outcomes if one.suggested[rule] is not None)
    false = [f"{fired[kind]} of {total[kind]}" for kind in SILENT]
    return [*false, f"{total['ample'] - fired['ample']} of {total['ample']}"]


def _alarmed(outcomes: Iterable[Outcome], rule: str) -> list[Cut]:
    """What becomes of the adapters that the rule raises an alarm for."""
    return [
        Cut((one.suggested[rule] or 0) / one.job.r, lost) for one in outcomes if (lost := one.lost(rule)) is not None
    ]


def _cost(cuts: Sequence[Cut]) -> list[str]:
    if len(cuts) < 2:
        return [str(len(cuts)), *"-----"]
    losses, kept = [cut.lost for cut in cuts], mean(cut.share for cut in cuts)
    tail = quantiles(losses, n=10, method="inclusive")[-1]
    bad = sum(lost > 2 for lost in losses)
    return [str(len(cuts)), f"{kept:.0%}", f"{median(losses):.1f}", f"{tail:.1f}", f"{max(losses):.1f}", str(bad)]


def _pair(group: Sequence[Outcome], r: int, largest: int) -> str:
    cut = mean(one.at[r] for one in group if one.job.r == largest)
    direct = mean(one.closed for one in group if one.job.r == r)
    return f"{cut:.1%} / {direct:.1%}"


def _rules(outcomes: Sequence[Outcome]) -> list[str]:
    return list(outcomes[0].suggested)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
