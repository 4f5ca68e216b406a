"""PEFT's lookup, compared with the rule as PEFT writes it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit.patterns import Lookup

PARTS = st.sampled_from(["a", "b", "q_proj", "proj", "layers", "0", "1", "x.y", "aXb"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(".".join)
REGEXES = st.sampled_from([r".*layers\.1.*\.b", r"^a", "a|b", r"(q|v)_proj", r"layers\.[01]\.proj", "a.?b"])
KEYS = st.lists(st.one_of(NAMES, REGEXES, NAMES.map(lambda name: name.replace(".", "-"))), max_size=8, unique=True)


def reference(keys: list[str], name: str) -> list[str]:
    """Every key that PEFT's expression matches, one after another."""
    return [key for key in keys if re.match(rf"(.*\.)?({key})$", name)]


@given(keys=KEYS, name=NAMES)
def test_the_table_finds_what_the_expression_matches(keys: list[str], name: str) -> None:
    """Same keys, same order as trying PEFT's regular expression on each; an exact name always counts."""
    expected = reference(keys, name) or [key for key in keys if key == name]
    assert Lookup(dict.fromkeys(keys)).matches(name) == expected


@pytest.mark.parametrize(
    "key", ["proj", "_proj", "layers.1", "self_attn", "base_model.model.layers.1.self_attn.q_proj"]
)
def test_a_part_of_a_name_is_no_match(key: str) -> None:
    """A key matches from a dot to the end; the wrapper's prefix is not part of the name."""
    assert Lookup({key: 1}).matches("layers.1.self_attn.q_proj") == []


def test_the_first_key_in_the_file_wins() -> None:
    """Matches come in file order."""
    keys = {"q_proj": 32, "layers.0.q_proj": 2, ".*0.q_proj": 1}
    assert Lookup(keys).matches("layers.0.q_proj") == ["q_proj", "layers.0.q_proj", ".*0.q_proj"]


def test_a_dot_in_a_plain_key_stands_for_any_character() -> None:
    """Keys are regular expressions: `v.proj` matches `v_proj`."""
    assert Lookup({"v.proj": 1}).matches("layers.0.v_proj") == ["v.proj"]


def test_a_broken_expression_is_an_error() -> None:
    """PEFT cannot load such a config either."""
    with pytest.raises(re.error):
        Lookup({"(": 1})
