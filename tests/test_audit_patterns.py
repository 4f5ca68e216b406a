"""PEFT's lookup, compared with the rule as PEFT writes it."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.audit.disk.patterns import Lookup, Values
from gradience.errors import AdapterError

PARTS = st.sampled_from(["a", "b", "q_proj", "proj", "layers", "0", "1", "x.y", "aXb"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(".".join)
REGEXES = st.sampled_from([r".*layers\.1.*\.b", "a|b", r"(q|v)_proj", r"layers\.[01]\.proj", "a.?b"])
PLAIN = st.one_of(
    NAMES,
    NAMES.map(lambda name: name.replace(".", "-")),
    NAMES.map(re.escape),
    NAMES.map(lambda name: f"^{name}$"),
    NAMES.map(lambda name: f"^{re.escape(name)}"),
)


def reference(keys: list[str], name: str) -> list[str]:
    """Every key that PEFT's expression matches, one after another."""
    return [key for key in keys if re.match(rf"(.*\.)?({key})$", name)]


@settings(max_examples=300)
@given(keys=st.lists(PLAIN, max_size=8, unique=True), name=NAMES)
def test_the_table_finds_what_the_expression_matches(keys: list[str], name: str) -> None:
    """Same keys, same order as trying PEFT's regular expression on each; an exact name always counts."""
    expected = reference(keys, name) or [key for key in keys if key == name]
    assert Lookup(dict.fromkeys(keys), [name]).matches(name) == expected


@settings(max_examples=15)
@given(keys=st.lists(st.one_of(PLAIN, REGEXES), max_size=8, unique=True), names=st.lists(NAMES, min_size=1, max_size=9))
def test_expressions_and_table_together_give_the_same(keys: list[str], names: list[str]) -> None:
    """Expressions are tried for all names at once, in another process."""
    lookup = Lookup(dict.fromkeys(keys), names)
    for name in names:
        assert lookup.matches(name) == (reference(keys, name) or [key for key in keys if key == name])


@pytest.mark.parametrize(
    "key", ["proj", "_proj", "layers.1", "self_attn", "base_model.model.layers.1.self_attn.q_proj", "^self_attn.q_proj"]
)
def test_a_part_of_a_name_is_no_match(key: str) -> None:
    """A key matches from a dot to the end; the wrapper's prefix is not part of the name."""
    name = "layers.1.self_attn.q_proj"
    assert Lookup({key: 1}, [name]).matches(name) == []


def test_the_first_key_in_the_file_wins() -> None:
    """Matches come in file order."""
    keys = {"q_proj": 32, "layers.0.q_proj": 2, ".*0.q_proj": 1}
    assert Lookup(keys, ["layers.0.q_proj"]).matches("layers.0.q_proj") == ["q_proj", "layers.0.q_proj", ".*0.q_proj"]


def test_a_dot_in_a_plain_key_stands_for_any_character() -> None:
    r"""Keys are regular expressions: `v.proj` matches `v_proj`, and `v\.proj` does not."""
    assert Lookup({"v.proj": 1, r"v\.proj": 1}, ["0.v_proj"]).matches("0.v_proj") == ["v.proj"]


def test_more_forms_of_keys_than_the_table_has_room_for_are_tried_as_expressions() -> None:
    """Each form costs every lookup: a file with thousands of them must not take hours."""
    keys = {f"{i:07b}".replace("1", "."): i for i in range(128)}
    assert len(Lookup(keys, ["0000000"]).matches("0000000")) == 128


@pytest.mark.parametrize("key", ["(", "a{99999999999}", "(?P<a>x)(?P<a>y)", "(" * 5_000 + ")" * 5_000])
def test_a_broken_expression_is_an_error(tmp_path: Path, key: str) -> None:
    """PEFT cannot load such a config either."""
    with pytest.raises(AdapterError, match="no regular expression"):
        Values(tmp_path, "rank_pattern", {key: 1}, 1, names=["q_proj"])


def test_an_expression_that_takes_for_ever_is_refused(tmp_path: Path) -> None:
    """`re` tries every way of cutting the name into words before it finds no exclamation mark."""
    with pytest.raises(AdapterError, match="keys of its rank_pattern takes too long"):
        Values(tmp_path, "rank_pattern", {r"([\w.]+)+!": 1}, 1, names=["model.layers.0.self_attn.q_proj"])


@pytest.mark.slow
def test_very_long_names_with_very_many_keys_are_refused(tmp_path: Path) -> None:
    """Each part of a name may begin a match: their product must not take hours."""
    names = [f"{i:04}.{'x.' * 480}y" for i in range(2_000)]
    values = Values(tmp_path, "rank_pattern", {"x." * i + "y": 1 for i in range(480)}, 1, names=names)
    with pytest.raises(AdapterError, match="keys of its rank_pattern takes too long"):
        list(map(values.of, names))
