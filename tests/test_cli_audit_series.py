import json
import math
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter

SaveAdapter = Callable[..., Path]


def _audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["audit", "--all-checkpoints", "--peft-dir", *map(str, arguments)])


@pytest.fixture
def output_dir(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """A Trainer's output: checkpoints 9, 20 and 100, and the last of them again as the final adapter."""
    folder = tmp_path / "out"
    for step, needed in ((9, 1), (20, 2), (100, 8)):
        save_adapter(folder / f"checkpoint-{step}", needed=needed)
    copytree(folder / "checkpoint-100", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def run(output_dir: Path) -> Path:
    """The journal of the training."""
    path = output_dir / "run.jsonl"
    with TelemetryWriter(path, "run-1") as writer:
        writer.run_start({"training": {"max_steps": 100}})
        for step in range(1, 101):
            writer.train_step(step, loss=1.0 / step)
    return path


def test_every_checkpoint_has_its_row_in_numeric_order(output_dir: Path) -> None:
    """And the final adapter the last; it is told that it is a checkpoint's."""
    result = _audit(output_dir)
    assert (result.exit_code, result.stderr) == (0, "")
    title, _, _, *rows, _, note = result.stdout.splitlines()
    assert title.endswith(str(output_dir))
    assert [row.split()[:3] for row in rows] == [
        ["checkpoint-9", "9", "1/1"],
        ["checkpoint-20", "20", "2/2"],
        ["checkpoint-100", "100", "8/8"],
        ["final", "-", "8/8"],
    ]
    assert note.strip() == "final is the same adapter as checkpoint-100"


def test_the_document_has_a_point_for_each(output_dir: Path) -> None:
    """With the fields of the audit's summary and the advice in short."""
    document = json.loads(_audit(output_dir, "--json").stdout)
    assert document["schema"] == "gradience.audit_series/v1"
    assert [point["step"] for point in document["points"]] == [9, 20, 100, None]
    assert [point["suggested_rank_p90"] for point in document["points"]] == [1, 2, 8, 8]
    assert document["points"][-1]["same_as"] == str(output_dir / "checkpoint-100")
    assert {"delta_frob_norm_scaled_mean", "rank_waste", "verdict", "codes"} < document["points"][0].keys()


def test_each_audit_lands_at_its_step_and_only_once(output_dir: Path, run: Path) -> None:
    """The final adapter is the last checkpoint again; a second time adds nothing."""
    before = len(run.read_text().splitlines())
    assert _audit(output_dir, "--append", run).stderr == f"Appended the audit to {run} (run run-1)\n"
    events = [json.loads(line) for line in run.read_text().splitlines()[before:]]
    assert [event["step"] for event in events] == [9, 9, 20, 20, 100, 100]
    again = _audit(output_dir, "--append", run)
    assert again.stderr == f"The same audit of this adapter is already in {run} (run run-1)\n"
    assert len(run.read_text().splitlines()) == before + 6


def test_a_new_journal_holds_them_all_in_one_run(output_dir: Path, tmp_path: Path) -> None:
    """Made with the first audit, appended to by the others."""
    path = tmp_path / "new.jsonl"
    assert _audit(output_dir, "--telemetry", path).exit_code == 0
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({event["run_id"] for event in events}) == 1
    assert [event["step"] for event in events if event["event"] == "metrics"] == [9, 20, 100]


def test_a_broken_checkpoint_costs_its_row_and_the_exit_code(output_dir: Path) -> None:
    """The others are audited."""
    (output_dir / "checkpoint-20" / "adapter_model.safetensors").write_bytes(b"")
    result = _audit(output_dir)
    assert result.exit_code == 1
    broken = output_dir / "checkpoint-20" / "adapter_model.safetensors"
    assert result.stderr == f"Error: cannot audit {broken}: it is empty; fetch it or save it again\n"
    assert result.stdout.splitlines()[4].endswith("-  not audited")
    assert [bool(point["error"]) for point in json.loads(_audit(output_dir, "--json").stdout)["points"]] == [
        False, True, False, False,
    ]  # fmt: skip


def test_a_directory_without_any_adapter_is_refused(tmp_path: Path) -> None:
    """One line, and no table."""
    result = _audit(tmp_path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "there is no adapter_config.json" in result.stderr


@pytest.mark.parametrize("bar", ["over_provisioned", "error"])
def test_the_bar_is_held_against_the_last_adapter(output_dir: Path, bar: str) -> None:
    """Exit code 3 if it has the finding."""
    assert _audit(output_dir, "--fail-on", bar).exit_code == (3 if bar == "over_provisioned" else 0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--layers"], "one row per adapter"),
        (["--format", "csv"], "one row per adapter"),
        (["--format", "sarif"], "one row per adapter"),
        (["--json", "--format", "csv"], "not both"),
        (["--peft-dir", "another"], "of one training"),
    ],
)
def test_what_does_not_go_with_a_series_is_a_usage_error(output_dir: Path, asked: list[str], said: str) -> None:
    """Before any work."""
    result = _audit(output_dir, *asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_checkpoint_that_is_not_finite_is_the_verdict_of_its_step(output_dir: Path, run: Path) -> None:
    """Once: else the advice on the checkpoint before it would stand on the run."""
    weights = output_dir / "checkpoint-20" / "adapter_model.safetensors"
    save_file({name: tensor * math.nan for name, tensor in load_file(weights).items()}, weights)
    for _ in range(2):
        assert _audit(output_dir, "--append", run).exit_code == 1
    events = [json.loads(line) for line in run.read_text().splitlines()]
    found = [event for event in events if event["event"] in ("alert", "recommendation") and event["step"] == 20]
    assert [event.get("code", event.get("verdict")) for event in found] == ["adapter_nonfinite", "error"]
