"""The commands that would test a suggestion."""

import shlex

import pytest
from click.testing import CliRunner

from gradience.cli.main import group
from gradience.report import commands

COMPRESS = {"suggestion": "compress", "suggested_rank": 4}


def test_they_parse_as_they_stand() -> None:
    """Whatever is in a path; the second takes what the first writes."""
    lines = "\n".join(commands.test("runs/it's mine/$HOME", COMPRESS)).replace("\\\n", "").splitlines()
    first, second = (shlex.split(line) for line in lines)
    assert first[first.index("--peft-dir") + 1] == second[second.index("--original") + 1] == "runs/it's mine/$HOME"
    assert first[first.index("--out") + 1] == second[second.index("--compressed") + 1] == "$HOME-r4"
    for words in (first, second):
        result = CliRunner().invoke(group, words[1:])
        assert result.exit_code == 1, result.output  # there is no such adapter; a slip in an option would be 2


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("out", {"suggestion": "none", "suggested_rank": None}),
        ("out", {"suggestion": "probe_higher_rank", "suggested_rank": 4}),
        ("out", {"suggestion": "compress", "suggested_rank": "4; rm -rf ."}),
        ("a`b", COMPRESS),
        ("a\nb", COMPRESS),
        ("/", COMPRESS),
        ("out", {}),
    ],
)
def test_there_are_none_where_nothing_is_to_be_compressed(place: str, advice: dict[str, object]) -> None:
    """Nor for what a code block would not show as it is."""
    assert commands.test(place, advice) == []
