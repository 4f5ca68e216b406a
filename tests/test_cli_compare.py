import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import ConfigSnapshot, OptimizerConfigSnapshot
from tests.html_page import Shown

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


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs that differ in their learning rate."""
    paths = [tmp_path / name / "run.jsonl" for name in ("one", "two")]
    for path, lr in zip(paths, (1e-4, 2e-4), strict=True):
        with TelemetryWriter(path) as writer:
            writer.run_start(ConfigSnapshot(optimizer=OptimizerConfigSnapshot(lr=lr)))
            writer.train_step(1, loss=1.0)
    return paths


def test_runs_are_compared_as_monitor_lists_them(runs: list[Path]) -> None:
    """The same table and the same document, by files, directories or patterns; the settings that differ below."""
    told = _compare(*runs)
    assert ["optimizer.lr", "0.0001", "0.0002"] in [line.split() for line in told.stdout.splitlines()]
    places: list[list[str]] = [list(map(str, runs)), [str(runs[0].parent), str(runs[1])]]
    everything = [*places, [str(runs[0].parents[1] / "*" / "run.jsonl")], [str(runs[0].parents[1])]]
    for command in ("compare", "monitor"):
        for given in everything:
            assert CliRunner().invoke(group, [command, *given]).stdout == told.stdout
    documents = {CliRunner().invoke(group, [name, *places[0], "--json"]).stdout for name in ("compare", "monitor")}
    assert json.loads(documents.pop())["schema"] == "gradience.runs/v1"
    assert not documents


def test_a_run_and_an_adapter_are_not_compared(adapters: tuple[Path, Path], runs: list[Path]) -> None:
    """The message says which is which."""
    result = _compare(adapters[0], runs[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"cannot compare a recorded run with an adapter: {runs[0]} is a run, {adapters[0]} is not" in result.stderr


def test_an_adapter_with_its_journal_is_an_adapter(adapters: tuple[Path, Path], runs: list[Path]) -> None:
    """Unless its run is asked for."""
    for adapter, run in zip(adapters, runs, strict=True):
        run.rename(adapter / "run.jsonl")
    assert "LoRA comparison" in _compare(*adapters).stdout
    assert _compare(*adapters, "--runs").stdout.startswith("2 runs\n")


@pytest.mark.parametrize("arguments", [["--top", "1"], ["--directions", "2"]])
def test_runs_have_no_modules(runs: list[Path], arguments: list[str]) -> None:
    """What is asked of adapters alone is a mistake of usage."""
    assert _compare(*runs, *arguments).exit_code == 2


def test_one_of_anything_cannot_be_compared(adapters: tuple[Path, Path], runs: list[Path]) -> None:
    """Whatever it is."""
    assert [_compare(*given).exit_code for given in ([runs[0]], [adapters[0]])] == [1, 2]


def test_of_more_adapters_every_pair_is_compared(
    adapters: tuple[Path, Path], tmp_path: Path, save_adapter: SaveAdapter
) -> None:
    """As of two, but for their modules: these are asked for pair by pair."""
    places = [*adapters, save_adapter(tmp_path / "c", r=4)]
    rows = [line.split() for line in _compare(*places).stdout.splitlines()]
    pairs = json.loads(_compare(*places, "--json").stdout)["pairs"]
    told = [(row[:2], row[3]) for row in rows if row[:1] in (["A"], ["B"]) and len(row) == 10]
    assert told == [
        (list(letters), f"{pair['overall']['cosine']:.4f}")
        for letters, pair in zip(("AB", "AC", "BC"), pairs, strict=True)
    ]
    single = json.loads(_compare(places[1], places[2], "--json").stdout)
    assert pairs[2]["overall"] == single["overall"]
    assert _compare(*places, "--top", "1").exit_code == 2


def test_adapters_have_a_page(adapters: tuple[Path, Path], tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Of two with a map of their modules, of more with a map of the pairs; the same numbers as in the text."""
    two = Shown(_compare(*adapters, "--html", "-").stdout)
    assert two.open == []
    assert "Modules, the farthest apart first" in two.text
    assert two.tags.count("rect") == 4
    page = tmp_path / "page.html"
    result = _compare(*adapters, save_adapter(tmp_path / "c", r=4), "--html", page)
    assert result.stdout.startswith("LoRA comparison of 3 adapters")
    three = Shown(page.read_text())
    assert (three.tags.count("rect"), "Every pair" in three.text) == (6, True)
    assert _compare(*adapters, "--html", "-", "--json").exit_code == 2
