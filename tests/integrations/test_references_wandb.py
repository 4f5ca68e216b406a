"""Adapters that are artifacts: wandb itself against a double of its server on loopback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradience import references
from gradience.audit import fingerprint
from tests.integrations.wandb_double import server
from tests.integrations.wandb_double.held import TrackedRun
from tests.integrations.wandb_double.server import Server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow
SaveAdapter = Callable[..., Path]


@pytest.fixture
def tracker(tmp_path: Path, save_adapter: SaveAdapter) -> Iterator[Server]:
    """An artifact with an adapter, a checkpoint and an optimiser's state."""
    adapter = save_adapter(tmp_path / "adapter")
    files = {name: (adapter / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}
    deeper = {f"deep/checkpoint-5/{name}": data for name, data in files.items()}
    everything = {**files, **deeper, "optimizer.pt": files["adapter_config.json"]}
    with server.serving() as serving:
        serving.storing.publish("me/sft/adapter", everything, version=3, aliases=["best"])
        yield serving


def _audit(tracker: Server, place: Path, reference: str, **own: str) -> subprocess.CompletedProcess[str]:
    place.mkdir(exist_ok=True)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    variables |= {"WANDB_BASE_URL": tracker.address, "XDG_CACHE_HOME": str(place / ".cache"), "HOME": str(place), **own}
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", reference, "--json"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=place)


LOGIN = {"WANDB_API_KEY": "k" * 40}


def test_only_the_adapters_files_are_downloaded(tracker: Server, tmp_path: Path) -> None:
    """Once for all aliases of a version; no run is started, and nothing is left where the command ran."""
    done = _audit(tracker, tmp_path / "home", "wandb://me/sft/adapter:best", **LOGIN)
    assert done.returncode == 0, done.stderr
    adapter = json.loads(done.stdout)["adapter"]
    assert (adapter["fingerprint"], done.stderr) == (fingerprint(tmp_path / "adapter"), "")
    files = [path.rpartition("/")[2] for path in tracker.asked if path.startswith("/artifacts")]
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert [name for name in tracker.asked if "Upsert" in name] == []
    assert [path.name for path in (tmp_path / "home").iterdir() if not path.name.startswith(".")] == []
    tracker.asked.clear()
    again = _audit(tracker, tmp_path / "home", "wandb-artifact://me/sft/adapter:v3", **LOGIN)
    assert again.returncode == 0, again.stderr
    assert [path for path in tracker.asked if path.startswith("/artifacts")] == []


def test_a_folder_of_an_artifact_is_an_adapter_too(tracker: Server, tmp_path: Path) -> None:
    """With the step of its checkpoint; without an alias it is the latest version."""
    done = _audit(tracker, tmp_path / "home", "wandb://me/sft/adapter/deep/checkpoint-5", **LOGIN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["adapter"]["step"] == 5


@pytest.mark.parametrize(
    ("reference", "login", "said"),
    [
        ("wandb://me/sft/adapter:v9", LOGIN, "cannot fetch wandb://me/sft/adapter:v9: .*not found"),
        ("wandb://me/sft/adapter:v3", {}, "cannot fetch wandb://me/sft/adapter:v3: .*API key"),
        ("wandb://adapter", LOGIN, "an artifact is written"),
    ],
)
def test_what_wandb_does_not_give_is_one_line(
    tracker: Server, tmp_path: Path, reference: str, login: dict[str, str], said: str
) -> None:
    """Nobody is asked to log in by a prompt."""
    done = _audit(tracker, tmp_path / "home", reference, **login)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert re.search(said, done.stderr)


def test_the_run_that_logged_an_artifact_is_known(
    tracker: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit of it lands there; of one that nobody knows to be anybody's, or whose run was deleted, none is told."""
    for key, value in tracker.env(tmp_path / "home").items():
        monkeypatch.setenv(key, value)
    files = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    tracker.held.put(TrackedRun(entity="me", project="sft", id="u1", created=0))
    for name, run in (("logged", "u1"), ("orphaned", "u2")):
        tracker.storing.publish(f"me/sft/{name}", files, version=0, aliases=[], run=run)
    assert references.fetch("wandb://me/sft/logged:v0").runs == {"wandb": "me/sft/u1"}
    assert references.fetch("wandb://me/sft/orphaned:v0").runs == {}
    assert references.fetch("wandb://me/sft/adapter:v3").runs == {}
