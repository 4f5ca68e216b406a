import pytest

from gradience.errors import InputError
from gradience.evaluation import metric
from gradience.evaluation.measure import Measure


def _found(*names: str) -> dict[str, Measure]:
    return {name: Measure(value=0.5) for name in names}


@pytest.mark.parametrize(
    ("names", "asked", "name"),
    [
        (("loss", "accuracy"), None, "accuracy"),
        (("eval_loss", "eval_runtime"), None, "eval_loss"),
        (("test/loss", "train_time"), None, "test/loss"),
        (("anything",), None, "anything"),
        (("test/loss", "val/loss"), "val/loss", "val/loss"),
        (("a/val/loss", "test/loss"), "val/loss", "a/val/loss"),
    ],
)
def test_the_metric_that_is_meant(names: tuple[str, ...], asked: str | None, name: str) -> None:
    """As named, by its last part, or the usual one."""
    assert metric.choose(_found(*names), asked) == name


@pytest.mark.parametrize(
    ("names", "asked", "says"),
    [
        ((), None, "gave no number"),
        (("a", "b"), None, "which metric is meant is not known: name one of a, b"),
        (("x/acc", "y/acc"), "acc", "several metrics could be 'acc': name one of x/acc, y/acc"),
        (("x/acc", "y/acc"), None, "several metrics could be meant: name one of x/acc, y/acc"),
        (("a",), "f1", "no metric is 'f1': name one of a"),
    ],
)
def test_nothing_is_guessed(names: tuple[str, ...], asked: str | None, says: str) -> None:
    """The names that are there are listed."""
    with pytest.raises(InputError, match=says):
        metric.choose(_found(*names), asked)


@pytest.mark.parametrize(
    ("name", "up"),
    [
        ("accuracy", True),
        ("task/acc_norm,none", True),
        ("rougeL", True),
        ("rouge1", True),
        ("eval_f1", True),
        ("pass@1", True),
        ("eval_loss", False),
        ("word_perplexity", False),
        ("bits_per_byte", False),
        ("quality", None),
        ("error_score", None),
        ("accuracy/x", None),
    ],
)
def test_direction_by_name(name: str, up: bool | None) -> None:
    """The last part alone counts; two directions in a name are none."""
    assert metric.is_better_up(name) is up
