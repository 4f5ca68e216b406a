"""Which directory is an adapter, and what to say about the others."""

import json
import os
from pathlib import Path

import pytest

from gradience.audit import audit
from gradience.audit.disk import folder
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


@pytest.mark.parametrize(("given", "says"), [("nowhere", "no such directory"), ("*/v2", "no adapter matches it")])
def test_what_is_not_there_is_called_what_it_is(tmp_path: Path, given: str, says: str) -> None:
    """A pattern that found nothing is no directory."""
    assert says in refusal(tmp_path / given)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["adapter_config.json"], "none of adapter_model.safetensors, adapter_model.bin"),
        (["adapter_model.safetensors"], "no adapter_config.json, so their scale is not known"),
        (["config.json", "model.safetensors"], "full model"),
        (["config.json", "model-00001-of-00002.safetensors"], "full model"),
        (["pytorch_model.bin"], "full model"),
        (["pytorch_lora_weights.safetensors"], "pytorch_lora_weights.safetensors: it is empty"),
        (["adapters.safetensors", "adapter_config.json"], "adapters.safetensors: it is empty"),
        (["adapters.npz", "adapter_config.json"], "early mlx-lm"),
        (["adapter_0.pt"], "torchtune"),
        (["adapter_config.json", "adapter_model-00001-of-00002.safetensors"], "sharded"),
        (["adapter_config.json", "adapter_model.safetensors.index.json"], "sharded"),
        (["pytorch_model_fsdp.bin"], "FSDP"),
        (["global_step10/x"], "DeepSpeed"),
        (["a/adapter_config.json", "b/adapter_config.json"], "sub-directories ('a', 'b')"),
        ([], "there is no adapter_config.json"),
    ],
)
def test_another_layout_is_refused_by_name(tmp_path: Path, files: list[str], says: str) -> None:
    """The line says what the directory holds instead."""
    assert says in refusal(touch(tmp_path, *files))


def test_the_latest_checkpoint_is_named_by_number(tmp_path: Path) -> None:
    """In a Trainer's output checkpoint-1000 is later than checkpoint-90; one without an adapter does not count."""
    touch(tmp_path, "checkpoint-90/adapter_config.json", "checkpoint-1000/adapter_config.json", "checkpoint-2000/x")
    assert f"audit the latest one, {tmp_path / 'checkpoint-1000'}, or all of them" in refusal(tmp_path)


def test_the_best_checkpoint_is_named_too(tmp_path: Path) -> None:
    """The last state knows it, under the path that it had while training."""
    touch(tmp_path, "checkpoint-90/adapter_config.json", "checkpoint-1000/adapter_config.json")
    state = {"best_model_checkpoint": "/elsewhere/out/checkpoint-90", "log_history": [{"loss": float("nan")}]}
    (tmp_path / "checkpoint-1000" / "trainer_state.json").write_text(json.dumps(state))
    assert f"the best by evaluation, {tmp_path / 'checkpoint-90'}" in refusal(tmp_path)


def test_adapters_beside_checkpoints_are_named(tmp_path: Path) -> None:
    """Some scripts save the last one into a folder of their own."""
    touch(tmp_path, "checkpoint-90/adapter_config.json", "final_checkpoint/adapter_config.json")
    assert "(checkpoints: 1; adapters in sub-directories: 'final_checkpoint')" in refusal(tmp_path)


def test_the_final_adapter_of_a_trainer_is_taken(tmp_path: Path) -> None:
    """Checkpoints beside it do not matter, nor does a merged model."""
    touch(tmp_path, "adapter_config.json", "adapter_model.safetensors", "merged/model.safetensors")
    touch(tmp_path, "checkpoint-90/adapter_config.json")
    assert folder.find(tmp_path).config == tmp_path / "adapter_config.json"
    assert folder.find(tmp_path).others == ()
    assert "full model" in refusal(tmp_path / "merged")


@pytest.mark.parametrize("count", [3, 7])
def test_several_adapters_are_named(tmp_path: Path, count: int) -> None:
    """All of them where they are few."""
    touch(tmp_path, *(f"{name}/adapter_config.json" for name in "abcdefg"[:count]))
    names = ", ".join(f"'{name}'" for name in "abcde"[:count]) + " and 2 more" * (count > 5)
    assert refusal(tmp_path).endswith(f"sub-directories ({names}); audit {tmp_path / 'a'}")


def test_an_adapter_in_the_adapter_model_folder_of_a_checkpoint_is_taken(tmp_path: Path) -> None:
    """Where some trainers put it; its step is that of the checkpoint."""
    touch(tmp_path, *(f"checkpoint-9/adapter_model/{name}" for name in ("adapter_config.json", "adapter_model.bin")))
    found = folder.find(tmp_path / "checkpoint-9")
    assert (found.weights.parent.name, found.step, found.others) == ("adapter_model", 9, ())
    assert "checkpoint-9, or all" in refusal(tmp_path)


def test_pissa_converted_is_the_one_to_audit(tmp_path: Path) -> None:
    """LLaMA-Factory's other copies claim a plain initialisation, so that only their folder's name gives them away."""
    names = ["pissa_backup", "pissa_converted", "pissa_init"]
    touch(tmp_path, *(f"{name}/{file}" for name in names for file in ("adapter_config.json", "adapter_model.bin")))
    mend = f"audit {tmp_path / 'pissa_converted'}"
    assert all(refusal(path).endswith(mend) for path in (tmp_path, tmp_path / "pissa_init", tmp_path / "pissa_backup"))
    assert folder.find(tmp_path / "pissa_converted").step is None
    config = '{"peft_type": "LORA", "init_lora_weights": "pissa_niter_16"}'
    touch(tmp_path, "adapter_model.bin", "adapter_config.json").joinpath("adapter_config.json").write_text(config)
    (tmp_path / "pissa_init" / "adapter_config.json").unlink()
    with pytest.raises(AdapterError, match=r"pissa_converted$"):
        audit(tmp_path)


def test_the_links_of_a_hub_cache_are_at_home(tmp_path: Path) -> None:
    """Its snapshots link to its blobs, also from folders inside."""
    touch(tmp_path / "blobs", "1", "2")
    here = touch(tmp_path / "snapshots" / "rev" / "checkpoint-5", "README.md")
    for name, blob in (("adapter_config.json", "1"), ("adapter_model.safetensors", "2")):
        (here / name).symlink_to(tmp_path / "blobs" / blob)
    assert folder.find(here).linked == ()


def test_a_link_to_elsewhere_is_followed_and_told(tmp_path: Path) -> None:
    """A directory that links to itself under another name is not elsewhere."""
    touch(tmp_path, "secret", "adapter/adapter_config.json")
    (tmp_path / "adapter" / "adapter_model.bin").symlink_to(tmp_path / "secret")
    (tmp_path / "alias").symlink_to(tmp_path / "adapter")
    assert folder.find(tmp_path / "alias").linked == ("adapter_model.bin",)


@pytest.mark.parametrize("target", ["adapter_model.bin", "/dev/zero", "missing"])
def test_a_link_that_leads_to_no_file_is_no_adapter(tmp_path: Path, target: str) -> None:
    """To itself, a device, nothing."""
    touch(tmp_path, "adapter_config.json")
    (tmp_path / "adapter_model.bin").symlink_to(target)
    assert "a config but none of" in refusal(tmp_path)


@pytest.mark.parametrize("final", [True, False])
def test_a_series_is_in_numeric_order_and_ends_with_the_final_adapter(tmp_path: Path, final: bool) -> None:
    """Only what holds an adapter."""
    touch(tmp_path, "checkpoint-90/adapter_config.json", "checkpoint-1000/adapter_model/adapter_config.json")
    touch(tmp_path, "checkpoint-2000/x", *["adapter_config.json"] * final)
    expected = [tmp_path / "checkpoint-90", tmp_path / "checkpoint-1000", *[tmp_path] * final]
    assert folder.series(tmp_path) == expected


def test_a_series_of_one_is_the_path_itself(tmp_path: Path) -> None:
    """What is wrong with it is `find`'s to say."""
    assert folder.series(tmp_path / "missing") == [tmp_path / "missing"]


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
        ('{"global_step": 30, "log_history": [{"loss": NaN, "grad_norm": -Infinity}]}', 30),
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_the_state_costs_the_note_and_no_wait(tmp_path: Path) -> None:
    """Nobody ever writes into it."""
    touch(tmp_path, "adapter_config.json", "adapter_model.bin")
    os.mkfifo(tmp_path / "trainer_state.json")
    assert folder.find(tmp_path).step is None


def test_a_refusal_is_one_printable_line_whatever_names_say(tmp_path: Path) -> None:
    """The names of directories come from outside too, also in what to do."""
    touch(tmp_path, "a\nb\x1b[2J/adapter_config.json")
    assert refusal(tmp_path).isprintable()
