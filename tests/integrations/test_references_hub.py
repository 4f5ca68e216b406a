"""Adapters on the Hub: huggingface_hub itself against a repository on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from gradience_hub.place import Place
from safetensors.torch import save_file

from gradience.audit import fingerprint
from gradience.errors import InputError
from gradience.references.reference import Reference
from tests.integrations import hub_server
from tests.integrations.hub_server import Hub

pytest.importorskip("huggingface_hub")
SaveAdapter = Callable[..., Path]


@pytest.mark.parametrize(
    ("rest", "place"),
    [
        ("org/name", Place("org/name")),
        ("org/name@v1.0", Place("org/name", "v1.0")),
        ("org/name@refs/pr/3/sub", Place("org/name", "refs/pr/3", "sub")),
        ("org/name@feature%2Fx/a/b", Place("org/name", "feature/x", "a/b")),
        ("models/org/name/checkpoint-5/", Place("org/name", None, "checkpoint-5")),
    ],
)
def test_a_reference_names_a_folder_of_a_repository(rest: str, place: Place) -> None:
    """Revision and folder may be left out."""
    assert Place.of(Reference(f"hf://{rest}")) == place


@pytest.mark.parametrize("rest", ["name", "", "datasets/org/name", "org/name/../x", "org/name@"])
def test_another_form_is_refused(rest: str) -> None:
    """With the form that is meant."""
    with pytest.raises(InputError, match=r"hf://ORGANISATION/NAME\[@REVISION\]\[/FOLDER\]$"):
        Place.of(Reference(f"hf://{rest}"))


@pytest.fixture
def hub(tmp_path: Path, save_adapter: SaveAdapter) -> Iterator[Hub]:
    """A repository with an adapter, a checkpoint and a whole model."""
    adapter = save_adapter(tmp_path / "adapter")
    files = {name: adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")}
    deeper = {f"deep/checkpoint-5/{name}": path for name, path in files.items()}
    with hub_server.serving({**files, **deeper, "model.safetensors": files["adapter_model.safetensors"]}) as serving:
        yield serving


def _audit(hub: Hub, home: Path, reference: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}
    own["GRADIENCE_CACHE_DIR"] = str(home / "gradience")
    variables = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | own
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", reference, "--json", *options]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_only_the_adapters_files_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    """To the Hub's own cache, from which they come when the Hub is away."""
    done = _audit(hub, tmp_path / "hf", "hf://org/name")
    assert done.returncode == 0, done.stderr
    assert '"peft_dir": "hf://org/name"' in done.stdout
    assert fingerprint(tmp_path / "adapter") in done.stdout
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"adapter_config.json", "adapter_model.safetensors"}
    again = _audit(hub, tmp_path / "hf", "hf://org/name", HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.slow
def test_a_folder_of_a_repository_is_an_adapter_too(hub: Hub, tmp_path: Path) -> None:
    """With the step of its checkpoint."""
    done = _audit(hub, tmp_path / "hf", "hf://org/name@main/deep/checkpoint-5")
    assert done.returncode == 0, done.stderr
    assert '"step": 5' in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "environment", "said"),
    [
        ("hf://org/other", {}, "cannot fetch hf://org/other: there is no such repository, or it is private"),
        ("hf://org/name@nowhere", {}, "there is no revision 'nowhere'"),
        ("hf://org/name/style.safetensors", {}, "style.safetensors: there is no such file"),
        ("hf://org/name/deep", {}, "give one of them: hf://org/name/deep/checkpoint-5"),
        ("hf://org/name", {"HF_HUB_OFFLINE": "1"}, "the Hub cannot be reached, and it is not in the cache"),
        ("hf://org/name", {"HF_ENDPOINT": "http://127.0.0.1:1"}, "the Hub cannot be reached"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(
    hub: Hub, tmp_path: Path, reference: str, environment: dict[str, str], said: str
) -> None:
    """With what to do about it."""
    done = _audit(hub, tmp_path / "hf", reference, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_base_model_comes_without_the_rest(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Its config and its weights, and no second copy of them in another format or folder."""
    adapter = save_adapter(tmp_path / "adapter")
    base = tmp_path / "base"
    base.mkdir()
    modules = [f"model.layers.{i}.{kind}" for i in range(2) for kind in ("self_attn.q_proj", "mlp.up_proj")]
    save_file({f"{name}.weight": 2 * torch.eye(32) for name in modules}, base / "model.safetensors")
    (base / "config.json").write_text("{}")
    served = {name: base / name for name in ("config.json", "model.safetensors")}
    others = dict.fromkeys(("pytorch_model.bin", "original/model.safetensors", "README.md"), base / "config.json")
    with hub_server.serving({**served, **others}) as hub:
        done = _audit(hub, tmp_path / "hf", str(adapter), "--base-model", "org/name")
        assert done.returncode == 0, done.stderr
        assert {path.partition(f"{hub_server.SHA}/")[2] for path in hub.asked if "/resolve/" in path} == set(served)
        again = _audit(hub, tmp_path / "hf", str(adapter), "--base-model", "hf://org/name", HF_HUB_OFFLINE="1")
        gone = _audit(hub, tmp_path / "hf", str(adapter), "--base-model", "org/other")
    document = json.loads(done.stdout)
    assert json.loads(again.stdout) == document
    assert (document["n_layers_with_udr"], document["base_path"]) == (4, "hf://org/name")
    assert document["udr_max"] == pytest.approx(document["delta_sigma_max"] / 2, rel=1e-3)
    assert gone.returncode == 1
    assert gone.stderr.strip().endswith("there is no such repository, or it is private: `hf auth login`")
