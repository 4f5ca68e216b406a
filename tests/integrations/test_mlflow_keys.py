"""Tests of `gradience_mlflow.keys`: MLflow's names for ours."""

import posixpath
import re

import pytest
from gradience_mlflow.keys import LONGEST, TAG, Names, legal
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("key", ["train/loss", "eval/test/ppl", "a.b-c d:e", "Verlust/größe"])
def test_a_good_key_stays(key: str) -> None:
    """What MLflow takes is not touched."""
    assert legal(key) == key


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("eval/test/ndcg@10", "eval/test/ndcg_10"),
        ("/a//b/", "a/b"),
        ("a/../b", "a/__/b"),
        ("..a", "_.a"),
        ("a\nb", "a_b"),
        ("", "_"),
        ("///", "_"),
        ("f1(macro)[x]", "f1_macro__x_"),
    ],
)
def test_a_foreign_key_is_mapped(key: str, expected: str) -> None:
    """Each foreign character is one underscore, and the name is no path that resolves to another."""
    assert legal(key) == expected


def test_a_long_key_is_cut_with_a_mark_of_its_own() -> None:
    """Two long keys with one beginning stay two."""
    first, second = legal("a" * 300), legal("a" * 301)
    assert len(first) <= LONGEST
    assert first != second


@given(st.text(max_size=400))
def test_any_text_becomes_a_key_that_mlflow_takes(key: str) -> None:
    """MLflow's own rules: its characters, a normal path, at most 250 characters, the tag's prefix included."""
    name = legal(key)
    assert re.fullmatch(r"[/\w.\- :]+", name)
    assert posixpath.normpath(name) == name
    assert not name.startswith(("..", "/"))
    assert len(TAG + name) <= 250


@given(st.lists(st.text("ab@#_/", max_size=4), unique=True))
def test_two_keys_never_share_a_name(keys: list[str]) -> None:
    """Collisions are kept apart."""
    names = Names()
    assert len({names.name(key) for key in keys}) == len(keys)


@given(st.lists(st.text("ab@#_/", min_size=1, max_size=4), unique=True), st.randoms())
def test_names_outlive_the_process(keys: list[str], random: object) -> None:
    """With the run's tags and metrics another process names each key as the first one did, in any order."""
    first = Names()
    given_names = {key: first.name(key) for key in keys}
    later = Names(first.changed(keys), given_names.values())
    random.shuffle(keys)  # type: ignore[attr-defined]
    assert {key: later.name(key) for key in keys} == given_names


def test_a_changed_key_leaves_its_original() -> None:
    """The tag says what the name stands for; a key that stayed needs none."""
    names = Names()
    assert names.changed(["ndcg@10", "loss"]) == {"gradience.key.ndcg_10": "ndcg@10"}
