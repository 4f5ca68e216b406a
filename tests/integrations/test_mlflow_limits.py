"""Tests of `gradience_mlflow.limits`: requests that MLflow takes."""

import json
from collections import Counter

from gradience_mlflow.limits import Metric, milliseconds, requests, text
from hypothesis import given
from hypothesis import strategies as st

_METRICS = st.builds(
    Metric, st.sampled_from([f"m{n}" for n in range(150)]), st.just(1.0), st.just(0), st.integers(0, 99)
)


@given(
    st.lists(_METRICS, max_size=2500),
    st.integers(0, 250).map(lambda n: {f"p{i}": "ü" * 6000 for i in range(n)}),
    st.integers(1, 250).map(lambda n: {f"t{i}": "x" * 8000 for i in range(n)}),
)
def test_every_request_is_within_the_servers_limits(
    metrics: list[Metric], params: dict[str, str], tags: dict[str, str]
) -> None:
    """1000 metrics, 100 params, 100 tags, 1000 items, 1 MB; nothing is lost and the last tag comes last."""
    made = list(requests(metrics, params, tags))
    for request in made:
        counts = len(request.metrics), len(request.params), len(request.tags)
        assert counts[0] <= 1000
        assert max(counts[1:]) <= 100
        assert sum(counts) <= 1000
        assert len({row.key for row in request.metrics}) <= 100
        assert len(json.dumps([request.metrics, request.params, request.tags])) < 1_000_000
    assert Counter(row for request in made for row in request.metrics) == Counter(set(metrics))
    assert {k: v for request in made for k, v in request.params.items()} == params
    assert [key for request in made for key in request.tags] == list(tags)
    assert [*tags][-1] in made[-1].tags


def test_many_names_make_no_request_of_each_line() -> None:
    """A batch of some hundred lines would be as many calls, and take longer than a call may hang."""
    rows = [Metric(f"m{name}", 1.0, 0, step) for step in range(400) for name in range(250)]
    assert len(list(requests(rows, {}, {}))) == len(rows) / 1000


def test_a_small_batch_is_one_request() -> None:
    """Metrics and position are taken together or not at all."""
    made = list(requests([Metric("a", 1.0, 0, 0)], {"p": "1"}, {"t": "1"}))
    assert len(made) == 1


def test_equal_rows_are_one() -> None:
    """MLflow knows a row by its values; two equal ones in a request are an error in some stores."""
    (request,) = requests([Metric("a", 1.0, 0, 0)] * 2, {}, {})
    assert len(request.metrics) == 1


def test_a_long_value_is_cut_visibly() -> None:
    """Never silently, as MLflow itself would."""
    assert text("x" * 10_000, 6000) == "x" * 5999 + "…"
    assert text("x" * 6000, 6000) == "x" * 6000


def test_text_is_what_a_database_stores() -> None:
    """No NUL, no half of a surrogate pair."""
    assert text("a\x00b\ud800", 10) == "ab?"


def test_time_is_rounded_one_way() -> None:
    """A row and its replay have the same millisecond."""
    assert milliseconds(1_700_000_000.0005) == 1_700_000_000_000
    assert milliseconds(1.2345) == 1234
