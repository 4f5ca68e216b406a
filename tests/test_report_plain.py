import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.report.plain import plain


@given(st.text(st.characters(codec=None)))
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    """Whatever comes in, what goes out is one printable line that can be encoded."""
    shown = plain(text)
    assert not [
        char for char in shown if ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029\u202e\u2066"
    ]
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("naïve ✓ 模型", "naïve ✓ 模型"),
    ],
)
def test_controls_are_shown_as_their_escapes(text: str, shown: str) -> None:
    """They are visible rather than gone; letters of any language stay."""
    assert plain(text) == shown
