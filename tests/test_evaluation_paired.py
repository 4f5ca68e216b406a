import math
import statistics

import numpy as np
import pytest

from gradience.evaluation import paired
from gradience.evaluation.measure import Measure
from gradience.evaluation.paired import Pair


def _pair(original: float, compressed: float, **both: float) -> Pair:
    return Pair(original=Measure(value=original, **both), compressed=Measure(value=compressed, **both))  # type: ignore[arg-type]


def _examples(before: list[float], after: list[float]) -> Pair:
    sides = [Measure(value=statistics.fmean(values), examples=tuple(values)) for values in (before, after)]
    return Pair(original=sides[0], compressed=sides[1])


def test_single_examples_give_the_exact_paired_error() -> None:
    """That of the mean of the differences, as numpy has it."""
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=(2, 50)).tolist()
    found = paired.difference([_examples(before, after)])
    expected = np.std(np.subtract(after, before), ddof=1) / math.sqrt(50)
    assert (found.basis, found.n) == ("examples", 50)
    assert found.error == pytest.approx(expected)
    assert found.delta == pytest.approx(np.mean(after) - np.mean(before))


def test_no_changed_answer_of_twenty_leaves_a_doubt() -> None:
    """One more that changed is counted; with many examples that is nothing."""
    few, many = ([1.0] * (n - 1) + [0.0] for n in (20, 20_000))
    assert paired.difference([_examples(few, few)]).error == pytest.approx(0.05)
    assert paired.difference([_examples(many, many)]).error == pytest.approx(0.00005)


def test_the_error_of_right_answers_covers_what_it_should() -> None:
    """In 2,000 draws of 300 answers whose truth is known, |error of the difference| stays below one in about 68 %."""
    generator = np.random.default_rng(1)
    before = generator.random((2000, 300)) < 0.8
    flips = generator.random((2000, 300)) < 0.1
    after = before ^ flips
    truth = 0.1 * 0.2 - 0.1 * 0.8
    drawn = zip((1.0 * before).tolist(), (1.0 * after).tolist(), strict=True)
    found = [paired.difference([_examples(*both)]) for both in drawn]
    covered = [abs(one.delta - truth) <= (one.error or 0.0) for one in found]
    assert statistics.fmean(covered) == pytest.approx(0.68, abs=0.04)


def test_repeats_give_the_error_over_pairs() -> None:
    """Paired: what both have in common is no noise."""
    found = paired.difference([_pair(0.5, 0.4), _pair(0.9, 0.7), _pair(0.1, 0.1)])
    assert found.basis == "repeats"
    assert found.error == pytest.approx(statistics.stdev([-0.1, -0.2, 0.0]) / math.sqrt(3))


def test_repeats_that_are_all_the_same_tell_nothing() -> None:
    """A seed that changes nothing is no proof: the evaluation's own error counts."""
    found = paired.difference([_pair(0.5, 0.4, stderr=0.03)] * 3)
    assert found.basis == "reported"
    assert found.error == pytest.approx(0.03 * math.sqrt(2))


def test_a_share_of_so_many_has_an_error() -> None:
    """Of accuracies, not of losses; that all of 20 were right leaves a doubt."""
    assert paired.difference([_pair(0.9, 0.9, n=10_000)], is_share=True).error == pytest.approx(0.00424, rel=0.01)
    assert (paired.difference([_pair(1.0, 1.0, n=20)], is_share=True).error or 0.0) > 0.05
    assert paired.difference([_pair(0.9, 0.9, n=10_000)]).error is None
    assert paired.difference([_pair(0.9, 0.9)], is_share=True).basis == "none"
