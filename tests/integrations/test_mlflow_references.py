"""Adapters in real MLflow stores, by run and by registered model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradience import references
from gradience.audit import audit, fingerprint
from gradience.errors import InputError
from gradience.references import Fetched, Reference, fetching

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow
SaveAdapter = Callable[..., Path]
Fetch = Callable[[str], Fetched]


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter, with what else a Trainer leaves in a checkpoint."""
    folder = save_adapter(tmp_path / "checkpoint-30")
    (folder / "optimizer.pt").write_bytes(b"0" * 1000)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def fetch(store_uri: str) -> Iterator[Fetch]:
    """What the other process does, in this one, which has MLflow already."""
    import mlflow
    from gradience_mlflow.download import Download

    def fetch(place: str) -> Fetched:
        reference = references.parse(place, store_uri)
        assert reference is not None
        return fetching.by(Download().fetch, reference)

    yield fetch
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to its default


def _logged(client: "MlflowClient", adapter: Path) -> str:
    """The id of a run that logged the adapter under `out`."""
    run = str(client.create_run("0").info.run_id)
    client.log_artifacts(run, str(adapter), f"out/{adapter.name}")
    return run


def _registered(client: "MlflowClient", run: str, name: str) -> None:
    client.create_registered_model(name)
    source = f"{client.get_run(run).info.artifact_uri}/out"
    version = client.create_model_version(name, source, run)
    client.set_registered_model_alias(name, "champion", version.version)


def _audit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_the_adapter_of_a_run(client: "MlflowClient", fetch: Fetch, adapter: Path) -> None:
    """Only its files, with its step, and the run that they are of; one written again is fetched again."""
    run = _logged(client, adapter)
    place = f"runs:/{run}/out/checkpoint-30"
    first = fetch(place)
    assert sorted(path.name for path in first.folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (first.runs, first.shown) == ({"mlflow": run}, place)
    record = audit(first)
    assert (record.adapter.peft_dir, record.adapter.step) == (place, 30)
    assert record.adapter.fingerprint == fingerprint(adapter)
    (adapter / "adapter_config.json").write_text("{}")
    client.log_artifact(run, str(adapter / "adapter_config.json"), "out/checkpoint-30")
    assert (fetch(place).folder / "adapter_config.json").read_text() == "{}"


def test_the_adapter_of_a_registered_model(client: "MlflowClient", fetch: Fetch, adapter: Path) -> None:
    """By alias, by version and by what MLflow alone knows."""
    run = _logged(client, adapter)
    _registered(client, run, "judge")
    by_alias = fetch("models:/judge@champion/checkpoint-30")
    assert (audit(by_alias).adapter.fingerprint, by_alias.runs) == (fingerprint(adapter), {"mlflow": run})
    assert fetch("models:/judge/1/checkpoint-30").folder == by_alias.folder
    assert audit(fetch("models:/judge/latest/checkpoint-30")).adapter.step == 30
    with pytest.raises(InputError, match=r"give one of them: models:/judge/1/checkpoint-30$"):
        fetch("models:/judge/1")


def test_over_a_real_server_the_audit_lands_on_the_run(server: str, adapter: Path, tmp_path: Path) -> None:
    """On the run whose adapter it is, without --run; the journal is made in the working directory, once."""
    from mlflow import MlflowClient

    client = MlflowClient(server)
    run = _logged(client, adapter)
    place = f"runs:/{run}/out/checkpoint-30"
    for added in (True, False):
        done = _audit(place, "--tracking-uri", server, "--log-to", "mlflow", "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert (document["added"], document["trackers"][0]["tracked"]["id"]) == (added, run)
    journals = list(tmp_path.glob("*.jsonl"))
    assert [path.name[:6] for path in journals] == ["audit-"]
    found = client.get_run(run)
    assert (found.data.tags["gradience.verdict"], found.info.status) == ("review", "RUNNING")
    start = json.loads(journals[0].read_text().splitlines()[0])
    assert (start["meta"]["adapter"], start["config"]["lora"]["r"]) == (place, 16)


@pytest.mark.parametrize("place", ["runs:/0123456789abcdef0123456789abcdef/a", "models:/nobody@it", "models:/nobody/7"])
def test_what_the_store_does_not_have_is_one_line(fetch: Fetch, place: str) -> None:
    """In MLflow's words."""
    with pytest.raises(InputError, match=f"^cannot fetch {place} from sqlite:.* not found") as raised:
        fetch(place)
    assert len(str(raised.value).splitlines()) == 1


def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    """Without the credentials in its address."""
    done = _audit("runs:/1/a", "--tracking-uri", "http://me:secret@127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: cannot fetch runs:/1/a from http://127.0.0.1:1: no answer from http://127.0.0.1:1: Connection refused\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_store_is_made_by_looking(tmp_path: Path) -> None:
    """Where none is named or there already."""
    from gradience_mlflow.download import Download

    with pytest.raises(InputError, match="there is no MLflow store"):
        Download().fetch(Reference("runs:/1/a"))
    assert list(tmp_path.iterdir()) == []
