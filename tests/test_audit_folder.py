"""Which directory is an adapter, and what to say about the others."""

import json
from pathlib import Path

import pytest

from gradience.audit import folder
from gradience.errors import AdapterError


def touch(root: Path, *names: str) -> Path:
    """Empty files under `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def refusal(path: Path) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(AdapterError) as caught:
        folder.find(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_safetensors_come_before_bin(tmp_path: Path) -> None:
    """As PEFT reads."""
    touch(tmp_path, "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors")
    assert folder.find(tmp_path).weights.name == "adapter_model.safetensors"


def test_an_adapter_beside_a_model_is_the_adapter(tmp_path: Path) -> None:
    """Some tools leave the model's files in the same directory."""
    touch(tmp_path, "adapter_config.json", "adapter_model.bin", "config.json", "model.safetensors")
    assert folder.find(tmp_path).weights.name == "adapter_model.bin"


def test_further_adapters_in_sub_directories_are_named(tmp_path: Path) -> None:
    """They are not read; checkpoints are no further adapters."""
    touch(tmp_path, "adapter_config.json", "adapter_model.bin", "other/adapter_config.json")
    touch(tmp_path, "checkpoint-5/adapter_config.json")
    assert folder.find(tmp_path).others == ("other",)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["adapter_config.json"], "none of adapter_model.safetensors, adapter_model.bin"),
        (["adapter_model.safetensors"], "no adapter_config.json, so their scale is not known"),
        (["config.json", "model.safetensors"], "full model"),
        (["config.json", "model-00001-of-00002.safetensors"], "full model"),
        (["pytorch_model.bin"], "full model"),
        (["pytorch_lora_weights.safetensors"], "diffusers"),
        (["adapters.safetensors", "adapter_config.json"], "mlx-lm"),
        (["adapter_0.pt"], "torchtune"),
        (["adapter_config.json", "adapter_model-00001-of-00002.safetensors"], "sharded"),
        (["adapter_config.json", "adapter_model.safetensors.index.json"], "sharded"),
        (["pytorch_model_fsdp.bin"], "FSDP"),
        (["global_step10/x"], "DeepSpeed"),
        (["a/adapter_config.json", "b/adapter_config.json"], "sub-directories (2, first 'a')"),
        ([], "there is no adapter_config.json"),
    ],
)
def test_another_layout_is_refused_by_name(tmp_path: Path, files: list[str], says: str) -> None:
    """The line says what the directory holds instead."""
    assert says in refusal(touch(tmp_path, *files))


def test_the_latest_checkpoint_is_named_by_number(tmp_path: Path) -> None:
    """In a Trainer's output checkpoint-1000 is later than checkpoint-90; one without an adapter does not count."""
    touch(tmp_path, "checkpoint-90/adapter_config.json", "checkpoint-1000/adapter_config.json", "checkpoint-2000/x")
    assert refusal(tmp_path).endswith("audit the latest one: " + str(tmp_path / "checkpoint-1000"))


def test_kohya_is_known_by_its_keys(tmp_path: Path) -> None:
    """It writes no config, and its users choose the file's name."""
    header = json.dumps(
        {"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    (tmp_path / "style.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "kohya" in refusal(tmp_path)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    """Missing, or a file."""
    assert "no such directory" in refusal(tmp_path / "missing")
    assert "not a directory" in refusal(touch(tmp_path, "file") / "file")


def test_the_step_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    """From the folder's name."""
    touch(tmp_path, "checkpoint-500/adapter_config.json", "checkpoint-500/adapter_model.bin")
    assert folder.find(tmp_path / "checkpoint-500").step == 500


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ('{"global_step": 30, "log_history": [{"loss": NaN}]}', 30),
        ('{"global_step": "30"}', None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_the_step_of_a_final_adapter_is_in_the_trainer_state(tmp_path: Path, state: str, step: int | None) -> None:
    """Bare NaN is read; a broken state costs only the note."""
    touch(tmp_path, "adapter_config.json", "adapter_model.bin")
    (tmp_path / "trainer_state.json").write_text(state)
    assert folder.find(tmp_path).step == step
