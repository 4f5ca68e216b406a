from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter
from tests.html_page import Shown


def _monitor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["monitor", *map(str, arguments)])


def _record(path: Path) -> Path:
    with TelemetryWriter(path) as writer:
        writer.run_start()
        for step in range(1, 5):
            writer.train_step(step, loss=2 / step)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of four steps."""
    return _record(tmp_path / "run.jsonl")


def test_a_report_in_html_is_written_beside_the_summary(run: Path, tmp_path: Path) -> None:
    """In place of an older one, which stays where the new one cannot be written; nothing else is left there."""
    page = tmp_path / "pages" / "run.html"
    page.parent.mkdir()
    page.write_text("old")
    result = _monitor(run, "--html", page)
    assert (result.exit_code, result.stderr) == (0, f"Wrote the report to {page}.\n")
    assert "status      ok, step 4" in result.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert list(page.parent.iterdir()) == [page]
    refused = _monitor(run, "--html", tmp_path / "gone" / "run.html")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_a_report_in_html_on_stdout_is_alone_there(run: Path) -> None:
    """--json wants stdout as well."""
    result = _monitor(run, "--html", "-", "--fail-on", "info")
    assert result.stdout.startswith("<!doctype html>")
    assert result.stdout.endswith("</html>\n")
    assert [_monitor(*given, "--html", "-").exit_code for given in ([run, "--json"], [run, run.parent])] == [2, 0]


def test_several_runs_are_one_page(run: Path, tmp_path: Path) -> None:
    """Each run is in a common chart and a row, one that cannot be read in a row; `compare` writes the same."""
    other = _record(tmp_path / "other.jsonl")
    shown = Shown(_monitor(run, other, "--html", "-").stdout)
    assert shown.open == []
    assert [shown.text.count(name) >= 2 for name in ("run.jsonl", "other.jsonl")] == [True, True]
    assert shown.tags.count("svg") == 1
    assert "Findings" not in shown.text
    compared = CliRunner().invoke(group, ["compare", str(run), str(other), "--html", "-"])
    assert compared.stdout == _monitor(run, other, "--html", "-").stdout
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n")
    result = _monitor(run, broken, "--html", "-")
    assert (result.exit_code, "1 could not be read" in Shown(result.stdout).text) == (1, True)


def test_a_report_in_html_may_go_into_a_pipe(run: Path, tmp_path: Path) -> None:
    """Which is no file that could be replaced."""
    result = _monitor(run, "--html", "/dev/null")
    assert (result.exit_code, Path("/dev/null").is_file()) == (0, False)
    assert not list(tmp_path.glob(".gradience*"))
