import pytest

from gradience.errors import InputError
from gradience.references import contents
from gradience.references.reference import Reference, parse


def test_only_an_adapters_files_are_chosen() -> None:
    """Weights of a whole model, documents and other checkpoints stay where they are."""
    held = ["adapter_config.json", "adapter_model.safetensors", "trainer_state.json", "pissa_init/adapter_config.json"]
    others = ["model-00001-of-00002.safetensors", "README.md", "optimizer.pt", "checkpoint-5/adapter_config.json"]
    assert sorted(held) == contents.chosen([*others, *held], Reference("hf://org/name"))


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapters.safetensors", "adapter_model.bin"])
def test_what_another_tool_saved_is_chosen_too(name: str) -> None:
    """The audit refuses it by name."""
    assert contents.chosen([name, "x.txt"], Reference("s3://b/a")) == [name]


def test_a_folder_of_adapters_names_them() -> None:
    """The message has a reference to use instead."""
    paths = [f"checkpoint-{step}/adapter_config.json" for step in (1, 2)]
    with pytest.raises(InputError, match=r"\(checkpoint-1, checkpoint-2\); give one of them: s3://b/a/checkpoint-2$"):
        contents.chosen(paths, Reference("s3://b/a/"))


@pytest.mark.parametrize(("paths", "said"), [([], "there is nothing"), (["model.safetensors", "x"], "none of its 2")])
def test_a_folder_without_an_adapter_is_refused(paths: list[str], said: str) -> None:
    """Nothing is fetched from it."""
    with pytest.raises(InputError, match=said):
        contents.chosen(paths, Reference("s3://b/a"))


@pytest.mark.parametrize("path", ["../adapter_config.json", "adapter_model/../../x", "/adapter_config.json"])
def test_a_path_that_leads_out_is_never_chosen(path: str) -> None:
    """Names come from a server: they decide nothing about where a file is written."""
    with pytest.raises(InputError):
        contents.chosen([path], Reference("https://host/a"))


def test_a_file_is_chosen_alone() -> None:
    """Whatever else is there; one that is not there is refused."""
    reference = parse("hf://org/loras/style.safetensors")
    assert reference is not None
    assert contents.chosen(["adapter_config.json", "style.safetensors"], reference) == ["style.safetensors"]
    with pytest.raises(InputError, match=r"^cannot audit hf://org/loras/style.safetensors: there is no such file"):
        contents.chosen(["adapter_config.json"], reference)
