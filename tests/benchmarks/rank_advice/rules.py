"""Every known rule that turns the spectra of an adapter into a rank: ours among them, all on the same audit.

A rule says "this adapter can be compressed to rank s". It counts as an alarm where s is at most half of the trained
rank; the rule on utilization is an alarm by itself, and takes its rank from k@90, as the public release does.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from typing import Final

import numpy as np

from gradience.audit import ladder
from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.policy.advice import advise
from gradience.policy.audit_rules import Run
from gradience.policy.detectors import Monitors

Rule = Callable[[AuditRecord, Run], int | None]


def utilization(record: AuditRecord, _: Run) -> int | None:
    """Mean stable rank below a quarter of the trained rank, as the public release warns."""
    low = mean(module.stable_rank / module.r for module in record.modules) < 0.25
    return _rung(record, median(module.energy_rank_90 for module in record.modules)) if low else None


def median_90(record: AuditRecord, _: Run) -> int | None:
    """The public release's suggestion: the median over modules of the rank that holds 90 % of the energy."""
    return _alarm(record, median(module.energy_rank_90 for module in record.modules))


def mean_95(record: AuditRecord, _: Run) -> int | None:
    """retrain's: the least rank at which the mean over modules of the energy held is 95 %."""
    held = np.mean([_held(module) for module in record.modules], axis=0)
    return _alarm(record, int(np.searchsorted(held, 0.95)) + 1)


def knee(record: AuditRecord, _: Run) -> int | None:
    """The median over modules of the point of the spectrum that lies farthest below its chord (kneedle)."""
    return _alarm(record, median(_knee(module.singular_values) for module in record.modules))


def gavish_donoho(record: AuditRecord, _: Run) -> int | None:
    """The median over modules of how many singular values are above 2.858 times their median (arXiv 1305.5870)."""
    return _alarm(record, median(_above(module, 2.858 * median(module.singular_values)) for module in record.modules))


def tenth_of_first(record: AuditRecord, _: Run) -> int | None:
    """The sv_ratio of kohya at 10: the largest count of singular values above a tenth of the first."""
    return _alarm(record, max(_above(module, module.singular_values[0] / 10) for module in record.modules))


def ours(record: AuditRecord, run: Run) -> int | None:
    """What `gradience audit` advises on an adapter whose run is recorded."""
    return advise(record, run=run).suggested_rank


def watched(losses: Mapping[int, float]) -> Run:
    """What is known of a run with these held-out losses, as the audit knows it from a journal."""
    monitors, fired = Monitors(), []
    for step, loss in losses.items():
        fired += monitors.observe("eval", step, {"split": "test", "metrics": {"loss": loss}})
    fired += monitors.observe("run_end", None, {"status": "ok"})
    return Run(never_improved=any(alert["code"] == "never_improved" for alert in fired))


RULES: Final[dict[str, Rule]] = {
    "utilization < 0.25": utilization,
    "median k@90": median_90,
    "mean 95 %": mean_95,
    "knee": knee,
    "Gavish-Donoho": gavish_donoho,
    "sigma > first / 10": tenth_of_first,
    "Gradience": ours,
}


def _alarm(record: AuditRecord, rank: float) -> int | None:
    rung = _rung(record, rank)
    return rung if 2 * rung <= record.adapter.r else None


def _rung(record: AuditRecord, rank: float) -> int:
    return ladder.at_least(rank, record.adapter.r)


def _held(module: ModuleAudit) -> Sequence[float]:
    energies = np.square(module.singular_values)
    shares: Sequence[float] = (energies.cumsum() / energies.sum()).tolist()
    return shares


def _above(module: ModuleAudit, bar: float) -> int:
    return max(1, sum(value > bar for value in module.singular_values))


def _knee(values: Sequence[float]) -> int:
    place = np.linspace(0.0, 1.0, len(values))
    height = (np.asarray(values) - values[-1]) / max(values[0] - values[-1], 1e-300)
    return max(1, int(np.argmax(1.0 - place - height)))  # what comes before it is kept
