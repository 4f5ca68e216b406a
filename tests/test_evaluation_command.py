import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.errors import InputError
from gradience.evaluation import command

ODD = '/a b/it\'s "x" $HOME;`id`/{seed}'
VALUES = {"adapter": ODD, "seed": "3", "output": "/out"}


def test_a_path_is_one_argument_whatever_is_in_it() -> None:
    """Blanks, quotes, dollars and braces are no syntax; other braces stay."""
    line = "eval --peft={adapter} '{\"k\": {seed}}' {output}/x {other}"
    assert command.arguments(line, VALUES) == ["eval", f"--peft={ODD}", '{"k": 3}', "/out/x", "{other}"]


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_any_path_is_one_argument(path: str) -> None:
    """Whatever a file system takes."""
    assert command.arguments("eval --peft={adapter} x", {"adapter": path}) == ["eval", f"--peft={path}", "x"]
    assert shlex.split(command.script("eval --peft={adapter} x", {"adapter": path})) == ["eval", f"--peft={path}", "x"]


def test_a_shell_gets_it_whole_too() -> None:
    """As a real one reads it."""
    script = command.script("printf '%s|' {adapter} | cat; printf {seed}", VALUES)
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == f"{ODD}|3"


@pytest.mark.parametrize(
    ("line", "shell", "says"),
    [
        ("eval", False, "has no {adapter}"),
        ("eval {adaptor} {adapter}", False, r"\{adaptor\} is no placeholder; \{adapter\}\?"),
        ("eval {adapter} 'x", False, "No closing quotation"),
        ('eval "{adapter}" | tail', True, r"leave out the quotes around \{adapter\}"),
        ("eval {adapter} '{seed}'", True, r"leave out the quotes around \{seed\}"),
    ],
)
def test_a_command_that_cannot_work_is_refused(line: str, shell: bool, says: str) -> None:
    """Before anything is run."""
    with pytest.raises(InputError, match=says):
        command.check(line, shell=shell)


@pytest.mark.parametrize(
    ("line", "shell"),
    [("eval '{adapter}' {x}", False), ("a '{x}' \\\" {adapter} | b", True), ('a "b\'" {adapter}', True)],
)
def test_a_command_that_works_passes(line: str, shell: bool) -> None:
    """Quotes around a placeholder do no harm without a shell, nor do others with one."""
    command.check(line, shell=shell)
