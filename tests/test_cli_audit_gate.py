import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group

SaveAdapter = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter of rank 16 whose update is of rank 4."""
    return save_adapter(tmp_path / "adapter")


@pytest.fixture
def better(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """The same at a rank that it needs."""
    return save_adapter(tmp_path / "better", r=4)


def _audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["audit", "--peft-dir", *map(str, arguments)])


def test_a_regression_ends_with_exit_code_3(adapter: Path, better: Path) -> None:
    """The report says both numbers; stderr says what the bar met."""
    result = _audit(adapter, "--baseline", better, "--fail-on", "regression")
    assert (result.exit_code, result.stderr) == (3, "--fail-on regression: regression_rank_waste\n")
    assert f"Against {better}" in result.stdout
    assert "Rank waste is 75.0%, 0.0% in the baseline." in result.stdout
    assert _audit(adapter, "--baseline", better).exit_code == 0


def test_no_regression_claims_nothing(adapter: Path, better: Path) -> None:
    """Other findings of the adapter do not count against it here."""
    result = _audit(better, "--baseline", adapter, "--fail-on", "regression")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "No regression. That does not show that it is better" in result.stdout


def test_a_saved_audit_is_a_baseline(adapter: Path, better: Path, tmp_path: Path) -> None:
    """The document of the comparison has both sides of it."""
    saved = tmp_path / "better.json"
    saved.write_text(_audit(better, "--json").stdout)
    document = json.loads(_audit(adapter, "--baseline", saved, "--json").stdout)
    assert [one["action"] for one in document["regressions"]] == ["regression_rank_waste"]
    assert (document["baseline"]["peft_dir"], document["peft_dir"]) == (str(better), str(adapter))
    assert "baseline" not in json.loads(saved.read_text())


def test_a_table_stays_a_table(adapter: Path, better: Path) -> None:
    """What reads CSV finds nothing else in it."""
    plain = _audit(adapter, "--format", "csv")
    gated = _audit(adapter, "--format", "csv", "--baseline", better)
    assert gated.stdout == plain.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--fail-on", "regression"], 2, "give --baseline as well"),
        (["--fail-on", "regression_modules"], 2, "give --baseline as well"),
        (["--baseline", "x", "--fail-on", "regress"], 2, "no severity and no code"),
        (["--baseline", "x", "--all-checkpoints"], 2, "held against one adapter"),
        pytest.param(
            ["--baseline", "runs:/1/a", "--tracking-uri", "sqlite:///none.db"],
            1,
            "cannot fetch",
            marks=pytest.mark.slow,
        ),
        (["--baseline", "nowhere", "--tracking-uri", "x"], 2, "give --log-to as well"),
        (["--baseline", "nowhere.json"], 1, "cannot compare with nowhere.json: it cannot be read (No such file"),
        (["--baseline", "nowhere"], 1, "cannot audit nowhere: there is no such directory"),
    ],
)
def test_a_wrong_baseline_is_told_before_any_work(adapter: Path, arguments: list[str], code: int, said: str) -> None:
    """Nothing on stdout; the line says what is wrong."""
    result = _audit(adapter, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
