"""The detectors over the recorded trainings of `make bench`: what is well there stays well."""

import pytest

from gradience.policy.detectors import CODES
from tests.benchmarks import bench_detectors, curves_of

CURVES = curves_of.read()


def test_there_are_curves_of_every_kind() -> None:
    """Good trainings, and for each detector some that it is for."""
    assert len([curve for curve in CURVES if not curve.intends]) >= 20
    assert {code for curve in CURVES for code in curve.intends} == set(CODES)
    assert sum(path.stat().st_size for path in curves_of.FOLDER.glob("*.gz")) < 1_500_000


@pytest.mark.parametrize("code", CODES)
def test_a_detector_is_rarely_wrong_over_real_trainings(code: str) -> None:
    """Below a tenth of false alarms and a quarter of misses, with curves of both kinds."""
    score = bench_detectors.recorded(CURVES)[code]
    assert score.faulty >= 5
    assert score.without >= 20
    assert score.is_met, score.row(code)


def test_no_good_training_raises_an_error() -> None:
    """A false alarm that ends a run costs most."""
    good = [curve for curve in CURVES if not curve.intends]
    assert [(one.family, one.seed) for one in good if "loss_diverged" in bench_detectors.first_alerts(one)] == []
