"""Which of the numbers is meant, and which direction is better."""

import re
from collections.abc import Iterable
from typing import Final

from gradience.errors import InputError
from gradience.evaluation.documents import SPLITS
from gradience.evaluation.measure import Measures

UP: Final = frozenset(
    ("acc", "accuracy", "auc", "auroc", "bertscore", "bleu", "chrf", "correct", "em", "exact", "f1", "map", "match",
     "mcc", "mrr", "ndcg", "pass", "pearson", "precision", "recall", "reward", "rouge", "score", "spearman", "win")
)  # fmt: skip
DOWN: Final = frozenset(
    ("bpb", "bits", "brier", "cer", "distance", "error", "errors", "loss", "mae", "mse", "nll", "perplexity", "ppl",
     "rmse", "ter", "wer")
)  # fmt: skip
PREFERRED: Final = ("accuracy", "acc", "exact_match", "f1", "loss", "ppl")  # where none is named
_SHOWN: Final = 12


def choose(found: Measures, asked: str | None) -> str:
    """The name of the measure that is asked for: as it is, or by its last part where only one has that.

    Raises:
        InputError: there is no such, or there are several.
    """
    if not found:
        raise InputError('the evaluation gave no number: print a JSON object such as {"accuracy": 0.93} last')
    if asked is None:
        return _preferred(found)
    named = [asked] if asked in found else _named(found, asked)
    if len(named) != 1:
        what = "several metrics could be" if named else "no metric is"
        raise InputError(f"{what} {asked!r}: name one of {_listed(named or found)} with --metric")
    return named[0]


def is_better_up(name: str) -> bool | None:
    """Whether more is better, as the name says; None where it does not, or says both."""
    words = {re.sub(r"\d+$", "", word) or word for word in re.split(r"[^a-z0-9]+", _last(name).lower())}
    words |= set(re.split(r"[^a-z0-9]+", _last(name).lower()))
    ups, downs = bool(words & UP) or any(word.startswith("rouge") for word in words), bool(words & DOWN)
    return None if ups == downs else ups


def is_share(name: str) -> bool:
    """Whether it is the share of examples that were right, so that their number tells its standard error."""
    return bool(set(re.split(r"[^a-z0-9]+", _last(name).lower())) & {"acc", "accuracy", "exact", "em", "pass"})


def _preferred(found: Measures) -> str:
    for wanted in PREFERRED:
        named = _named(found, wanted)
        if len(named) == 1:
            return named[0]
        if named:
            raise InputError(f"several metrics could be meant: name one of {_listed(named)} with --metric")
    if len(found) == 1:
        return next(iter(found))
    raise InputError(f"which metric is meant is not known: name one of {_listed(found)} with --metric")


def _named(found: Measures, wanted: str) -> list[str]:
    return [name for name in found if name.endswith(f"/{wanted}")] or [
        name for name in found if _bare(name) == wanted or name.partition(",")[0] == wanted
    ]


def _bare(name: str) -> str:
    """The metric alone: without its place, its filter and the split before it."""
    last = _last(name)
    return next((last.removeprefix(split) for split in SPLITS if last.startswith(split)), last)


def _last(name: str) -> str:
    return name.rpartition("/")[2].partition(",")[0]


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
