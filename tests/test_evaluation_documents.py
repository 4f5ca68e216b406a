import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="{}"), max_size=20)
_VALUES = st.recursive(
    st.floats(allow_nan=False) | st.text(max_size=8) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), _VALUES, min_size=1, max_size=4), _TEXT, _TEXT, st.sampled_from([None, 2]))
def test_any_object_is_found_in_any_text(value: dict[str, Any], before: str, after: str, indent: int | None) -> None:
    """Whatever it holds, braces and quotes in its own texts among them; as JSON's own reader reads it."""
    told = json.dumps(value, indent=indent)
    assert documents.last_object(f"{before}{told}{after}") == json.loads(told)


def test_a_number_that_is_none_is_kept() -> None:
    """So that it can be said."""
    (loss,) = documents.measures(json.loads('{"loss": NaN}')).values()
    assert math.isnan(loss.value)
