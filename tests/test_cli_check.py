import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group


def _check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["check", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training run's folder with `peft` and `training` in it."""
    (tmp_path / "peft").mkdir()
    (tmp_path / "training").mkdir()
    adapter = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "task_type": "SEQ_CLS"}
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(adapter))
    (tmp_path / "training" / "training_args.yaml").write_text("learning_rate: 1e-2\nseed: 3\nnum_train_epochs: 12\n")
    return tmp_path


def test_settings_come_from_the_directories_of_a_run(run: Path) -> None:
    """The documented pre-flight: a task, an adapter directory and a training directory."""
    result = _check("--task", "sst2", "--peft-dir", run / "peft", "--training-dir", run / "training", "--json")
    document = json.loads(result.stdout)
    config = document["config"]
    assert document["schema"] == "gradience.check/v1"
    assert (config["dataset_name"], config["task_profile"]) == ("sst2", "easy_classification")
    assert (config["lora"]["r"], config["optimizer"]["lr"], config["training"]["seed"]) == (16, 0.01, 3)
    assert [one["action"] for one in document["recommendations"]] == [
        "lr_high_for_lora",
        "epochs_many",
        "targets_attention_only",
    ]


def test_the_command_line_wins_over_files(run: Path) -> None:
    """Options, then CONFIG, then the adapter, then the training arguments."""
    (run / "all.json").write_text('{"learning_rate": 3e-4, "r": 4, "model": "org/from-config"}')
    result = _check(run / "all.json", "--training-dir", run / "training", "--lr", "1e-4", "--json")
    config = json.loads(result.stdout)["config"]
    assert (config["optimizer"]["lr"], config["lora"]["r"], config["training"]["seed"]) == (1e-4, 4, 3)
    assert config["model_name"] == "org/from-config"


@pytest.mark.parametrize(("task", "dataset"), [("gsm8k", "gsm8k"), ("dpo", None), ("text_generation", None)])
def test_a_kind_of_task_is_not_taken_for_a_dataset(task: str, dataset: str | None) -> None:
    """`--task` names either; only a dataset becomes one."""
    config = json.loads(_check("--task", task, "--lr", "1e-4", "--json").stdout)["config"]
    assert (config["dataset_name"], config["extras"]["task"]) == (dataset, task)


def test_preference_tuning_has_its_own_learning_rates() -> None:
    """1e-4 is usual for SFT, and high for DPO."""
    codes = [_codes("--lr", "1e-4"), _codes("--lr", "1e-4", "--task", "dpo")]
    assert codes == [[], ["lr_high_for_lora"]]


def test_what_cannot_train_is_found_in_every_profile() -> None:
    """Sanity holds for generation as well."""
    found = _codes("--task", "generation", "--lr", "10", "--r", "4096", "--weight-decay", "-5")
    assert found[:2] == ["fix_weight_decay", "lr_high_for_lora"]


def test_three_findings_are_shown_and_the_rest_named() -> None:
    """All of them with --verbose, evidence included."""
    arguments = ("--lr", "-1", "--r", "0", "--alpha", "0", "--weight-decay", "-5", "--targets", "q_proj,v_proj")
    brief, verbose = _check(*arguments).stdout, _check(*arguments, "--verbose").stdout
    assert "2 more: rank_not_positive, targets_attention_only (--verbose shows them)" in brief
    assert "evidence    targets=q_proj,v_proj" in verbose


@pytest.mark.parametrize(
    ("bar", "code"), [("error", 3), ("warning", 3), ("fix_weight_decay", 3), ("epochs_many", 0), (None, 0)]
)
def test_findings_fail_only_when_asked(bar: str | None, code: int) -> None:
    """Exit code 0 whatever is found; 3 with --fail-on a severity or a code that is met."""
    asked = [] if bar is None else ["--fail-on", bar]
    assert _check("--weight-decay", "-1", *asked).exit_code == code


def test_a_bar_that_nothing_can_meet_is_a_usage_error() -> None:
    """A typo in --fail-on would let everything pass."""
    result = _check("--lr", "1e-4", "--fail-on", "eror")
    assert result.exit_code == 2
    assert "'eror' is no severity and no code" in result.stderr


def test_nothing_to_check_is_a_usage_error() -> None:
    """With a line on what to give."""
    result = _check()
    assert result.exit_code == 2
    assert "nothing to check" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"), [("{", "mend that line"), ("[]", "name a file of settings"), (None, "check the path")]
)
def test_settings_that_cannot_be_read_are_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    """Exit code 1, on stderr, also with --json."""
    file = tmp_path / "args.json"
    if content is not None:
        file.write_text(content)
    result = _check(file, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_pickle_of_arguments_says_what_to_do(tmp_path: Path) -> None:
    """It is never loaded."""
    (tmp_path / "training_args.bin").write_bytes(b"PK\x03\x04")
    result = _check("--training-dir", tmp_path)
    assert result.exit_code == 1
    assert "to_json_string()" in result.stderr


def test_json_is_strict(tmp_path: Path) -> None:
    """A learning rate that is no number is null in JSON, and a finding."""
    (tmp_path / "args.json").write_text('{"learning_rate": NaN}')
    document = json.loads(_check(tmp_path / "args.json", "--json").stdout, parse_constant=pytest.fail)
    assert document["config"]["optimizer"]["lr"] is None
    assert document["recommendations"][0]["action"] == "lr_not_positive"


def test_names_in_settings_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """They are printed without control characters."""
    (tmp_path / "args.json").write_text('{"model": "a\\u001b]0;x\\u0007", "lr": 1, "targets": ["\\u001b[2J"]}')
    assert "\x1b" not in _check(tmp_path / "args.json", "--verbose").stdout


def _codes(*arguments: str) -> list[str]:
    return [one["action"] for one in json.loads(_check(*arguments, "--json").stdout)["recommendations"]]
