import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group

SaveAdapter = Callable[..., Path]


@pytest.fixture
def adapters(tmp_path: Path, save_adapter: SaveAdapter) -> tuple[Path, Path]:
    """Two adapters of one base model."""
    return save_adapter(tmp_path / "a"), save_adapter(tmp_path / "b", r=8)


def _compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["compare", *map(str, arguments)])


def test_two_adapters_are_compared(adapters: tuple[Path, Path]) -> None:
    """On stdout, with nothing on stderr."""
    result = _compare(*adapters)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Modules, 4 of 4" in result.stdout


def test_a_reference_is_an_adapter_too(adapters: tuple[Path, Path]) -> None:
    """Wherever a directory is."""
    assert _compare(adapters[0].as_uri(), adapters[0], "--json").exit_code == 0


def test_the_document_has_every_module_that_was_asked_for(adapters: tuple[Path, Path]) -> None:
    """All of them without options; sums stay those of all."""
    document = json.loads(_compare(*adapters, "--json").stdout)
    assert (document["schema"], len(document["modules"])) == ("gradience.compare/v1", 4)
    some = json.loads(_compare(*adapters, "--json", "--filter", "*.q_proj", "--top", "1", "--directions", "2").stdout)
    assert (len(some["modules"]), some["overall"]["n_modules"], some["modules"][0]["k_a"]) == (1, 4, 2)


@pytest.mark.parametrize("arguments", [["--filter", "x"], ["--directions", "0"], []])
def test_what_cannot_be_compared_is_one_line(adapters: tuple[Path, Path], arguments: list[str]) -> None:
    """And nothing on stdout."""
    given = adapters if arguments else (adapters[0], adapters[0].parent)
    result = _compare(*given, *arguments)
    assert (result.exit_code in (1, 2), result.stdout) == (True, "")
