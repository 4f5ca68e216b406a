import json
import pickle
from pathlib import Path

import pytest

from gradience.errors import InputError
from gradience.settings import sources
from gradience.settings.snapshot import snapshot


def test_an_adapter_directory_gives_its_settings(tmp_path: Path) -> None:
    """adapter_config.json in the directory itself."""
    config = {
        "r": 8,
        "lora_alpha": 16,
        "use_rslora": True,
        "base_model_name_or_path": "org/base",
        "task_type": "CAUSAL_LM",
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    read = snapshot(sources.adapter(tmp_path))
    assert (read.model_name, read.lora.r, read.lora.extras["use_rslora"]) == ("org/base", 8, True)


def test_the_shallowest_settings_win(tmp_path: Path) -> None:
    """A checkpoint's copy below does not compete with the one above it."""
    for folder, r in ((tmp_path, 8), (tmp_path / "checkpoint-5", 4)):
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps({"r": r}))
    assert snapshot(sources.adapter(tmp_path)).lora.r == 8


def test_several_at_one_depth_are_listed(tmp_path: Path) -> None:
    """Nothing is guessed."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"found .*a/adapter_config.json, .*b/adapter_config.json; name one"):
        sources.adapter(tmp_path)


def test_a_directory_without_adapter_settings_is_refused(tmp_path: Path) -> None:
    """The line says what was looked for."""
    with pytest.raises(InputError, match=r"no adapter_config.json"):
        sources.adapter(tmp_path)


@pytest.mark.parametrize("read", [sources.adapter, sources.training])
def test_a_missing_directory_is_refused(tmp_path: Path, read: object) -> None:
    """The line names it."""
    with pytest.raises(InputError, match=r"gone: no such file or directory"):
        read(tmp_path / "gone")  # type: ignore[operator]


def test_the_latest_trainer_state_stands_in_for_training_arguments(tmp_path: Path) -> None:
    """Of several checkpoints the one with the highest step; the learning rate is the highest that was logged."""
    for step in (50, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        history = '[{"learning_rate": 1e-4}, {"learning_rate": 2e-4}, {"loss": NaN}]'
        state = f'{{"max_steps": {step}, "train_batch_size": 4, "num_train_epochs": 2, "log_history": {history}}}'
        (folder / "trainer_state.json").write_text(state)
    read = snapshot(sources.training(tmp_path))
    assert (read.training.max_steps, read.training.batch_size, read.optimizer.lr) == (100, 4, 2e-4)
    assert read.training.extras["learning_rate_source"] == "highest in log_history"


def test_a_damaged_pickle_says_what_to_do(tmp_path: Path) -> None:
    """One line, with the way out."""
    (tmp_path / "training_args.bin").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"pickle is damaged.*to_json_string"):
        sources.training(tmp_path)


def test_an_empty_training_directory_says_what_was_looked_for(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(InputError, match=r"no training_args.json, .yaml or .bin, or trainer_state.json"):
        sources.training(tmp_path)


def test_any_file_may_be_the_whole_configuration(tmp_path: Path) -> None:
    """A pickle and a state are known by their names."""
    (tmp_path / "training_args.bin").write_bytes(pickle.dumps({"learning_rate": 2e-4}))
    (tmp_path / "trainer_state.json").write_text('{"log_history": [{"learning_rate": 2e-4}]}')
    for name in ("training_args.bin", "trainer_state.json"):
        assert sources.settings(tmp_path / name)["optimizer"]["lr"] == 2e-4
