import json
import math
from typing import Any

import pytest

from gradience.evaluation import documents
from gradience.evaluation.measure import Measure


@pytest.mark.parametrize(
    "text",
    [
        '{"accuracy": 0.9}',
        'loading\n{"accuracy": 0.1}\nagain\n{"accuracy": 0.9}\n\n',
        '\r 50%|##   |\r100%|#####|\r{"accuracy": 0.9}\n',
        "100%|#####| 5/5 {\"accuracy\": 0.9} done in 3 s {'not': 'json'}\nbye }\n",
        'start\n{\n  "accuracy": 0.9,\n  "by": {\n    "x": {}\n  }\n}\nend\n',
        '{"note": "a } and a {", "accuracy": 0.9}\x1b[0m\n',
    ],
)
def test_the_last_object_is_found_whatever_surrounds_it(text: str) -> None:
    """Progress bars, colours, prose, other braces and indentation."""
    found = documents.last_object(text)
    assert found is not None
    assert found["accuracy"] == 0.9


@pytest.mark.parametrize("text", ["", "no json", "[1, 2]", "{'a': 1}", "{" * 100_000, "}" * 100_000, "{}{" * 30_000])
def test_text_without_an_object_has_none_soon(text: str) -> None:
    """Nothing is guessed, and no text takes longer than a moment."""
    assert not documents.last_object(text)


def test_a_deep_object_is_no_crash() -> None:
    """Python's own reader gives up with an error that is not one of values."""
    assert not documents.last_object('{"a":' * 200_000)


def test_an_object_of_a_million_examples_is_read() -> None:
    """A long line is an ordinary one."""
    text = json.dumps({"accuracy": 1.0, "correct": [1] * 1_000_000})
    assert documents.measures(documents.last_object("x\n" + text) or {})["accuracy"].n is None


def test_every_number_is_a_measure_by_its_path() -> None:
    """Counts, standard errors and settings are none; a list of the examples belongs to the metric that it makes up."""
    document: dict[str, Any] = {
        "seed": 1,
        "model": "x",
        "fast": True,
        "test": {"accuracy": 0.75, "accuracy_stderr": 0.2, "loss": 0.5, "n": 4, "correct": [1, 1, True, 0]},
    }
    assert documents.measures(document) == {
        "test/accuracy": Measure(value=0.75, stderr=0.2, n=4, examples=(1.0, 1.0, 1.0, 0.0)),
        "test/loss": Measure(value=0.5, n=4),
    }


def test_the_trainers_results_are_read() -> None:
    """Its names have the split before them, counts too."""
    found = documents.measures({"eval_accuracy": 0.5, "eval_samples": 872, "eval_runtime": 1.5, "epoch": 3.0})
    assert found["eval_accuracy"] == Measure(value=0.5, n=872)
    assert "eval_samples" not in found


def test_a_number_that_is_none_is_kept() -> None:
    """So that it can be said."""
    (loss,) = documents.measures(json.loads('{"loss": NaN}')).values()
    assert math.isnan(loss.value)
