import click
import msgspec
from click.testing import CliRunner

from gradience.cli.options import taken, together


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the two options give."""

    height: int
    width: int


def test_options_that_belong_together_are_one_decorator_and_one_record() -> None:
    """They are listed in the order in which they are declared, and none of the others disturbs the record."""
    found: list[Size] = []

    @click.command()
    @together(click.option("--width", type=int), click.option("--height", type=int, default=2))
    @click.option("--colour")
    def command(**given: object) -> None:
        found.append(taken(Size, given))

    assert [option.name for option in command.params] == ["width", "height", "colour"]
    assert CliRunner().invoke(command, ["--width", "1", "--colour", "red"]).exit_code == 0
    assert found == [Size(height=2, width=1)]
