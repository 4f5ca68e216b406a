import click

from gradience.report import layout


def test_text_goes_left_and_numbers_right() -> None:
    """Names start together, digits end together."""
    lines = [click.unstyle(line) for line in layout.table(("name", "n"), [("a", "100"), ("long name", "7")])]
    assert lines == ["  name         n", "  a          100", "  long name    7"]


def test_a_long_text_hangs_under_its_label() -> None:
    """Wrapped at the width, each further line under the first one's text; a word is never cut."""
    lines = layout.labelled("test", "word " * 40)
    assert max(map(len, lines)) <= layout.WIDTH
    assert [line[:14] for line in lines] == ["  test        ", " " * 14, " " * 14]


def test_a_label_without_text_stands_alone() -> None:
    """No line is lost."""
    assert layout.labelled("base", "") == ["  base"]
