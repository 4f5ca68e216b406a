from typing import Any

import pytest

from gradience.errors import InputError
from gradience.evaluation import verdict
from gradience.evaluation.paired import Basis, Difference
from gradience.policy import catalogue
from gradience.policy import verification as rules

USUAL = rules.usual(catalogue.shipped())


def _difference(original: float, compressed: float, error: float | None) -> Difference:
    basis: Basis = "none" if error is None else "examples"
    delta = compressed - original
    return Difference(original=original, compressed=compressed, delta=delta, error=error, basis=basis)


@pytest.mark.parametrize(
    ("compressed", "error", "stated", "outcome"),
    [
        (0.80, 0.001, None, "pass"),
        (0.797, 0.001, None, "pass"),  # within 0.5 %
        (0.795, 0.001, None, "fail"),
        (0.795, 0.006, None, "pass"),  # within one standard error, which is below 2 %
        (0.79, 0.006, None, "fail"),
        (0.80, 0.05, None, "inconclusive"),  # could not have seen a drop of 2 %
        (0.76, 0.05, None, "inconclusive"),
        (0.70, 0.05, None, "fail"),
        (0.81, 0.05, None, "inconclusive"),
        (0.85, 0.05, None, "pass"),  # so much better that a drop is ruled out
        (0.79, 0.001, "0.01", "pass"),  # 0.8 - 0.79 is a little more than 0.01
        (0.79, 0.02, "0.01", "inconclusive"),
        (0.77, 0.02, "0.01", "fail"),
        (0.79, 0.001, "1%", "fail"),
        (0.79, 0.001, "2%", "pass"),
        (0.79, None, "2%", "pass"),
        (0.79, None, "0", "fail"),
        (0.80, None, "0", "pass"),
    ],
)
def test_what_is_shown(compressed: float, error: float | None, stated: str | None, outcome: str) -> None:
    """A drop beyond tolerance and noise fails; an evaluation that could not have seen one passes nothing."""
    allowed = verdict.tolerance(stated, USUAL)
    assert verdict.judge(_difference(0.8, compressed, error), allowed, higher_is_better=True).outcome == outcome


def test_of_a_loss_less_is_better() -> None:
    """A drop is a rise then."""
    found = _difference(2.0, 2.1, 0.001)
    assert verdict.judge(found, verdict.tolerance(None, USUAL), higher_is_better=False).outcome == "fail"
    assert verdict.judge(found, verdict.tolerance(None, USUAL), higher_is_better=True).outcome == "pass"


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "%", "1 %%"])
def test_a_tolerance_that_is_none_is_refused(text: str) -> None:
    """With what one looks like."""
    with pytest.raises(InputError, match=r"neither a number such as 0\.01 nor a share"):
        verdict.tolerance(text, USUAL)


def test_a_tolerance_of_a_negative_original_is_positive() -> None:
    """Log-likelihoods are below zero."""
    found: Any = verdict.judge(_difference(-100.0, -100.4, 0.01), verdict.tolerance(None, USUAL), higher_is_better=True)
    assert (found.tolerance, found.outcome) == (0.5, "pass")
