"""`gradience report`: what it takes, what it writes, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import ConfigSnapshot
from tests.html_page import Shown

SaveAdapter = Callable[..., Path]


def _report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["report", *map(str, arguments)])


def _record(path: Path) -> Path:
    with TelemetryWriter(path) as writer:
        writer.run_start()
        for step in range(1, 4):
            writer.train_step(step, loss=2 / step)
    return path


def test_a_run_is_reported_as_monitor_does(tmp_path: Path) -> None:
    """By its file or its directory."""
    run = _record(tmp_path / "run.jsonl")
    page = _report(run, "--html", "-").stdout
    assert page == CliRunner().invoke(group, ["monitor", str(run), "--html", "-"]).stdout
    assert _report(tmp_path, "--html", tmp_path / "page.html").exit_code == 0
    assert (tmp_path / "page.html").read_text() == page.removesuffix("\n")


def test_an_adapter_is_measured_and_reported(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """A directory or a reference; the page is written whole, and nothing else is left behind."""
    adapter, page = save_adapter(tmp_path / "adapter"), tmp_path / "page.html"
    result = _report(adapter, "--html", page)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"Wrote the report to {page}.\n")
    shown = Shown(page.read_text())
    assert shown.open == []
    assert "verdict: review" in shown.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "page.html"]
    assert Shown(_report(adapter.as_uri(), "--html", "-").stdout).tags == shown.tags


def test_an_adapter_is_judged_in_the_light_of_its_run(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """A run whose journal lies above: the base that it quantised is a caveat."""
    adapter = save_adapter(tmp_path / "out" / "checkpoint-3")
    with TelemetryWriter(tmp_path / "out" / "run.jsonl") as writer:
        writer.run_start(ConfigSnapshot.from_dict({"training": {"extras": {"load_in_4bit": True}}}))
    known = CliRunner().invoke(group, ["audit", "--peft-dir", str(adapter), "--json", "--append", str(writer.path)])
    page = Shown(_report(adapter, "--html", "-").stdout)
    assert "quantized_base" in known.stdout
    assert "quantized_base" in page.text


def test_where_several_runs_could_be_meant_the_adapter_stands_alone(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """It is reported, and what is not known is said."""
    adapter = save_adapter(tmp_path / "adapter")
    for name in "ab":
        _record(tmp_path / f"{name}.jsonl")
    result = _report(adapter, "--html", tmp_path / "page.html")
    assert result.exit_code == 0
    assert result.stderr.startswith("Without what its run knows: cannot choose the run that trained the adapter")


def test_several_runs_are_no_report(tmp_path: Path) -> None:
    """The message names the command that is for them."""
    for name in "ab":
        _record(tmp_path / f"{name}.jsonl")
    result = _report(tmp_path, "--html", "-")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot report 2 runs on one page" in result.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["gone"], 1), (["gone", "--run-id", "x"], 2), ([], 2)])
def test_what_cannot_be_reported_is_one_line(tmp_path: Path, arguments: list[str], code: int) -> None:
    """And nothing on stdout, and no page."""
    page = tmp_path / "page.html"
    result = _report(*arguments, "--html", page)
    assert (result.exit_code, result.stdout, page.exists()) == (code, "", False)
