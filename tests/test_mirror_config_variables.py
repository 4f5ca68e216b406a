from hypothesis import example, given
from hypothesis import strategies as st

from gradience.mirror.config.variables import expand

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="$"), max_size=12)
ENVS = st.dictionaries(NAMES, st.text(max_size=12), max_size=4)
# What is written, and what it stands for in an environment.
PLAIN = TEXTS.map(lambda text: (text, lambda _env: text))
DOLLAR = st.just(("$$", lambda _env: "$"))
NAMED = NAMES.map(lambda name: (f"${{{name}}}", lambda env: env.get(name, "")))
OR_ELSE = st.tuples(NAMES, st.text(st.characters(exclude_characters="{}"), max_size=8)).map(
    lambda pair: (f"${{{pair[0]}:-{pair[1]}}}", lambda env: env.get(pair[0]) or pair[1])
)


@given(st.lists(st.one_of(PLAIN, DOLLAR, NAMED, OR_ELSE), max_size=6), ENVS)
def test_each_part_stands_for_itself(parts: list[tuple[str, object]], env: dict[str, str]) -> None:
    """Text for text, `$$` for a dollar, a variable for its value, or its default if that is empty; never twice."""
    found = expand("".join(written for written, _ in parts), env)
    assert found.text == "".join(meaning(env) for _, meaning in parts)  # type: ignore[operator]
    assert not found.is_broken
    assert set(found.used.items()) <= set(env.items())


@given(st.text(max_size=40), ENVS)
@example("${", {})
@example("$$${A}", {"A": "${B}", "B": "x"})
def test_any_text_is_expanded_or_said_to_be_broken(text: str, env: dict[str, str]) -> None:
    """A value is put in as it is: what looks like a variable in it is none."""
    found = expand(text, env)
    assert found.is_broken or len(found.text) <= len(text) + text.count("$") * 12
    if "$" not in text:
        assert (found.text, found.used, found.unset) == (text, {}, ())


def test_an_unset_variable_is_named() -> None:
    """Each, in the order of the text; one that is set to nothing is set."""
    assert expand("${B} ${A} ${C}${D:-}", {"C": ""}).unset == ("B", "A")


def test_defaults_do_not_nest() -> None:
    """A text that would be half understood is refused."""
    assert expand("${A:-${B}}", {}).is_broken
    assert expand("${A-x}", {}).is_broken
    assert expand("a $HOME costs $5", {}).text == "a $HOME costs $5"
