import click
import msgspec
from click.testing import CliRunner

from gradience.cli.options import Sectioned, taken, together


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the two options give."""

    height: int
    width: int


def test_options_that_belong_together_are_one_decorator_and_one_record() -> None:
    """They are listed in the order in which they are declared, and none of the others disturbs the record."""
    found: list[Size] = []

    @click.command()
    @together(click.option("--width", type=int), click.option("--height", type=int, default=2), title="Size")
    @click.option("--colour")
    def command(**given: object) -> None:
        found.append(taken(Size, given))

    assert [option.name for option in command.params] == ["width", "height", "colour"]
    assert CliRunner().invoke(command, ["--width", "1", "--colour", "red"]).exit_code == 0
    assert found == [Size(height=2, width=1)]


def test_the_help_of_a_sectioned_command_has_titles() -> None:
    """An option by itself stands under the usual one, with --help."""

    @click.command(cls=Sectioned)
    @together(click.option("--width"), click.option("--height"), title="Size")
    @click.option("--colour")
    def command(**given: object) -> None:
        """Paint."""

    told = CliRunner().invoke(command, ["--help"]).stdout
    assert [line.split()[0] for line in told.splitlines() if line] == [
        *("Usage:", "Paint."),
        *("Size:", "--width", "--height"),
        *("Options:", "--colour", "--help"),
    ]
