"""Which adapters are meant by directories and patterns."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gradience.batch import search
from gradience.batch.search import Found


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`hub` in the working directory: two adapters, one of them broken, and what else lies about."""
    monkeypatch.chdir(tmp_path)
    for name in ("b/two", "a/one"):
        (tmp_path / "hub" / name).mkdir(parents=True)
    (tmp_path / "hub/a/one/adapter_config.json").touch()
    (tmp_path / "hub/b/two/adapter_model.safetensors").touch()
    (tmp_path / "hub/b/README.md").touch()
    return tmp_path / "hub"


@pytest.mark.usefixtures("hub")
def test_an_adapter_is_itself() -> None:
    """One directory with an adapter asks for a report, whatever lies below it."""
    assert search.find(["hub/a/one"]) == Found(("hub/a/one",), several=False)


@pytest.mark.usefixtures("hub")
def test_a_directory_of_adapters_means_every_one_below() -> None:
    """Sorted, spelled as the directory was; weights without a config are there to be refused by name."""
    assert search.find(["hub"]) == Found(("hub/a/one", "hub/b/two"), several=True)


@pytest.mark.usefixtures("hub")
def test_a_directory_with_one_adapter_still_asks_for_a_table() -> None:
    """The shape of the answer follows from the question, not from what is on disk today."""
    assert search.find(["hub/a"]) == Found(("hub/a/one",), several=True)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("pattern", ["hub/*", "hub/*/*", "hub/**", "hub/[ab]"])
def test_a_pattern_means_the_adapters_in_or_below_its_matches(pattern: str) -> None:
    """Each once; files that match are no adapters."""
    assert search.find([pattern]) == Found(("hub/a/one", "hub/b/two"), several=True)


@pytest.mark.usefixtures("hub")
def test_each_adapter_is_meant_once() -> None:
    """Under whatever names it was given, the first one counts."""
    Path("link").symlink_to("hub/a/one")
    assert search.find(["hub/a/../a/one", "hub", "link"]).adapters == ("hub/a/../a/one", "hub/b/two")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("place", ["nowhere", "nowhere/*", "hub/b/README.md", "hf://org/name"])
def test_what_is_not_there_is_left_to_the_audit(place: str) -> None:
    """Which says in one line what is wrong with it, or fetches it."""
    assert search.find([place]) == Found((place,), several=False)
    assert search.find([place, "hub/a/one"]) == Found((place, "hub/a/one"), several=True)


@pytest.mark.usefixtures("hub")
def test_a_directory_whose_name_looks_like_a_pattern_is_that_directory() -> None:
    """Brackets are legal in names."""
    Path("run[1]").mkdir()
    Path("run[1]/adapter_config.json").touch()
    assert search.find(["run[1]"]).adapters == ("run[1]",)


def test_the_output_of_a_trainer_is_one_place(tmp_path: Path) -> None:
    """Whether its final adapter, its best or its latest checkpoint is meant, the audit says."""
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/adapter_config.json").touch()
    assert search.find([str(tmp_path)]) == Found((str(tmp_path),), several=False)


def test_files_of_other_tools_are_adapters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several in one directory; the only one of a directory goes by the directory's name."""
    monkeypatch.chdir(tmp_path)
    for name in ("loras/a", "loras/b", "alone/c", "model/d"):
        path = Path(f"{name}.safetensors")
        path.parent.mkdir(exist_ok=True)
        keys = ("weight",) if "d" in path.stem else ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight")
        save_file({key: np.ones((2, 2), np.float32) for key in keys}, path)
    files = ("loras/a.safetensors", "loras/b.safetensors")
    assert search.find(["loras"]) == Found(files, several=True)
    assert search.find(["loras/*.safetensors"]) == Found(files, several=True)
    assert search.find(["loras/a.safetensors"]) == Found(files[:1], several=False)
    assert search.find(["."]) == Found(("./alone", "./loras/a.safetensors", "./loras/b.safetensors"), several=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(hub: Path) -> None:
    """It is handed on, and the audit says that it cannot be read."""
    (hub / "c").mkdir(mode=0)
    assert search.find(["hub"]).adapters[-1] == "hub/c"


@pytest.mark.parametrize("place", ["hf://org/name", "https://host/a?sig=*", "s3://b/" + "a" * 5000, "a" * 5000])
def test_what_is_no_path_here_is_one_place(place: str) -> None:
    """A reference is for its resolver; a name that no file can have is for the audit to refuse."""
    assert search.find([place]) == Found((place,), several=False)
