"""`gradience import`: a Trainer's directory becomes a journal, and mistakes are one line."""

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.vnext.telemetry_reader import TelemetryReader


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """What a Trainer left: a checkpoint with its state, and an adapter's configuration."""
    folder = tmp_path / "out" / "checkpoint-3"
    folder.mkdir(parents=True)
    history = [{"step": step, "loss": 3.0 / step, "learning_rate": 1e-4, "epoch": step / 3} for step in (1, 2, 3)]
    state = {"global_step": 3, "max_steps": 3, "log_history": [*history, {"step": 3, "eval_loss": 0.5}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "lora_alpha": 16}')
    return folder.parent


def imported(*arguments: str | Path) -> Result:
    """The command."""
    return CliRunner().invoke(group, ["import", *map(str, arguments)])


def test_a_trainers_directory_becomes_a_journal(output: Path, tmp_path: Path) -> None:
    """It says what came over and what to do next; the file reads without an issue."""
    path = tmp_path / "run.jsonl"
    result = imported(output, "--out", path)
    assert result.exit_code == 0, result.stderr
    assert "3 train_step" in result.stdout
    assert f"gradience monitor {path}" in result.stdout
    seen = TelemetryReader(path, strict=True).summarize()
    assert seen.config is not None
    assert (seen.train_loss, seen.evals["eval"].loss, seen.config.lora.r) == (1.0, 0.5, 8)


def test_the_same_run_has_the_same_id(output: Path, tmp_path: Path) -> None:
    """So that no tracker gets it twice."""
    documents = [json.loads(imported(output, "--out", tmp_path / name, "--json").stdout) for name in ("a", "b")]
    assert documents[0]["run_id"] == documents[1]["run_id"]
    assert documents[0]["schema"] == "gradience.import/v1"


def test_a_file_that_is_there_is_never_replaced(output: Path, tmp_path: Path) -> None:
    """Nor is anything left beside it."""
    path = tmp_path / "run.jsonl"
    path.write_text("mine")
    result = imported(output, "--out", path)
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "it is there already; give another --out" in result.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "run.jsonl"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "there is no such file or directory"),
        ("mlfow:0123", "did you mean mlflow:?"),
        (".", "no trainer_state.json in it"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str) -> None:
    """What was looked for, and what to give."""
    monkeypatch.chdir(tmp_path)
    result = imported(source)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert says in result.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"log_history": 3}', "\x00"])
def test_a_broken_state_is_one_line(tmp_path: Path, content: str) -> None:
    """And leaves no journal."""
    (tmp_path / "trainer_state.json").write_text(content)
    result = imported(tmp_path, "--out", tmp_path / "run.jsonl")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "run.jsonl").exists()


def test_no_file_is_replaced_without_hard_links_either(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network and removable drives; a full disk is one line."""

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "run.jsonl"
    assert imported(output, "--out", path).exit_code == 0
    whole = path.read_bytes()
    assert whole.endswith(b"\n")
    assert imported(output, "--out", path).exit_code == 1
    assert path.read_bytes() == whole

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = imported(output, "--out", tmp_path / "other.jsonl")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "No space left" in result.stderr
    assert [one.name for one in tmp_path.iterdir() if "other" in one.name] == []
