"""Which panels a dashboard has, in W&B's terms: pure data, every key of which is one that our sink writes.

A pattern finds a metric in a run of ours and, under `gradience/`, in one of the user's own that our sink joined.
"""

from typing import Final, Literal

import msgspec

from gradience.audit import columns
from gradience_wandb.contents import STEP, TABLE
from gradience_wandb.known import ROOT

X_AXIS: Final = STEP
_OURS: Final = f"({ROOT}/)?"
_KIND: Final = columns.KIND
_TYPE: Final = f"{_KIND}/(attn|mlp|embedding|other)"
COLUMNS: Final = (f"summary:{ROOT}.verdict", f"summary:{_KIND}/suggested_rank", f"summary:{_KIND}/rank_waste")


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel: lines of what a pattern finds, over steps; or the last value of a key, as a number, bar or table."""

    title: str
    kind: Literal["lines", "number", "bars", "table"] = "lines"
    pattern: str = ""
    keys: tuple[str, ...] = ()
    is_log: bool = False


class Section(msgspec.Struct, frozen=True):
    """Panels that stand together."""

    name: str
    panels: tuple[Panel, ...]


def _lines(title: str, pattern: str, *, is_log: bool = False) -> Panel:
    return Panel(title=title, pattern=f"^{_OURS}{pattern}$", is_log=is_log)


def _number(title: str, key: str) -> Panel:
    return Panel(title=title, kind="number", keys=(key,))


SECTIONS: Final = (
    Section(
        "Training",
        (
            _lines("Loss", "train/loss"),
            _lines("Learning rate", r"train/lr(_\d+)?"),
            _lines("Gradient norm", "train/grad_norm", is_log=True),
        ),
    ),
    Section(
        "Evaluation",
        (
            _lines("Loss", "eval/[^/]+/loss"),
            _lines("Perplexity", "eval/[^/]+/ppl"),
            _lines("Accuracy", "eval/[^/]+/accuracy"),
            _lines("Other metrics", "eval/[^/]+/(?!(loss|ppl|accuracy|n)$).+"),
        ),
    ),
    Section(
        "Rank use",
        (
            _lines("k@95, 90 % of the modules", f"{_KIND}/energy_rank_95_p90"),
            _lines("k@95 by module type", f"{_TYPE}/energy_rank_95_p90"),
            _lines("Rank waste", f"{_KIND}/rank_waste"),
            _lines("Rank waste by module type", f"{_TYPE}/rank_waste"),
            _lines("Utilization", f"{_KIND}/utilization_mean"),
            _lines("Utilization by module type", f"{_TYPE}/utilization_mean"),
        ),
    ),
    Section(
        "Adapter spectrum",
        (
            _lines("Norm of the update", f"{_KIND}/delta_fro_norm"),
            _lines("Norm by module type", f"{_TYPE}/delta_fro_norm"),
            _lines("Largest singular value", f"{_KIND}/delta_sigma_max"),
            _lines("Stable rank", f"{_KIND}/stable_rank_mean"),
            _lines("Stable rank by module type", f"{_TYPE}/stable_rank_mean"),
            _lines("Share of the energy by module type", f"{_TYPE}/energy_share"),
        ),
    ),
    Section(
        "Recommendations",
        (
            _number("Rank to test", f"{_KIND}/suggested_rank"),
            _number("Energy kept at it", f"{_KIND}/suggested_rank_energy_kept"),
            _number("Rank waste", f"{_KIND}/rank_waste"),
            Panel(
                title="Suggested ranks",
                kind="bars",
                keys=(f"{_KIND}/suggested_rank_p90", f"{_KIND}/suggested_rank_median"),
            ),
            Panel(title="Modules", kind="table", keys=(TABLE,)),
        ),
    ),
    Section("Alerts", (_lines("Alerts by severity", "alerts/(info|warning|error|critical)"),)),
)
