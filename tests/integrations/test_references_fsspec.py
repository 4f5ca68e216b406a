"""Adapters on real file systems of fsspec: in memory, in an archive, over HTTP."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gradience import references
from gradience.audit import audit, fingerprint
from gradience.errors import AdapterError, InputError

fsspec = pytest.importorskip("fsspec")
SaveAdapter = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter in a checkpoint's folder, with what else a Trainer leaves there."""
    folder = save_adapter(tmp_path / "out" / "checkpoint-30")
    (folder / "optimizer.pt").write_bytes(b"0" * 1000)
    return folder


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gradience" / "references"


@pytest.fixture
def in_memory(adapter: Path) -> Iterator[str]:
    """The adapter at `memory://`."""
    system = fsspec.filesystem("memory")
    system.put(str(adapter), "/bucket/checkpoint-30", recursive=True)
    yield "memory://bucket/checkpoint-30"
    system.rm("/bucket", recursive=True)


@pytest.fixture
def over_http(adapter: Path) -> Iterator[str]:
    """The adapter's parent folder, served on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    handler = partial(Quiet, directory=str(adapter.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, name="files", daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_adapter_in_a_store_is_audited_as_on_disk(adapter: Path, in_memory: str) -> None:
    """The same numbers and fingerprint; the record has the reference, and the step that its folder tells."""
    here, there = audit(adapter), audit(in_memory)
    assert (there.summary, there.modules) == (here.summary, here.modules)
    assert (there.adapter.peft_dir, there.adapter.step) == (in_memory, 30)
    assert there.adapter.fingerprint == here.adapter.fingerprint == fingerprint(in_memory)


def test_only_the_adapters_files_are_copied(in_memory: str) -> None:
    """An optimiser's state is many times their size."""
    folder = references.fetch(in_memory).folder
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_copy_is_taken_again_until_something_changes(in_memory: str, cached: Path) -> None:
    """A file that was written again is another adapter, and the earlier copy stays as it is."""
    first = references.fetch(in_memory).folder
    assert references.fetch(in_memory).folder == first
    system = fsspec.filesystem("memory")
    system.pipe_file("/bucket/checkpoint-30/adapter_config.json", b"{}")
    second = references.fetch(in_memory).folder
    assert (second / "adapter_config.json").read_bytes() == b"{}" != (first / "adapter_config.json").read_bytes()
    assert sorted(path.name for path in cached.iterdir()) == ["memory"]


def test_a_refusal_names_the_reference(in_memory: str, cached: Path) -> None:
    """And not the place of a copy that nobody knows."""
    fsspec.filesystem("memory").pipe_file("/bucket/checkpoint-30/adapter_config.json", b"{")
    with pytest.raises(
        AdapterError, match=r"^cannot audit memory://bucket/checkpoint-30/adapter_config.json: "
    ) as raised:
        audit(in_memory)
    assert str(cached) not in str(raised.value)


def test_a_folder_of_checkpoints_names_them(in_memory: str) -> None:
    """With a reference that can be used."""
    with pytest.raises(InputError, match=r"give one of them: memory://bucket/checkpoint-30$"):
        audit(in_memory.rpartition("/")[0])


def test_an_archive_is_a_file_system_too(adapter: Path, tmp_path: Path) -> None:
    """What tells nothing of changes is copied each time, and its copies are told apart by what they hold."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            archive.write(adapter / name, f"deep/{name}")
    found = references.fetch(f"zip://deep::{tmp_path / 'a.zip'}")
    assert audit(found).adapter.fingerprint == fingerprint(adapter)


def test_an_adapter_over_http(adapter: Path, over_http: str) -> None:
    """Its own credentials are not in the record."""
    pytest.importorskip("aiohttp")
    found = audit(f"{over_http}/checkpoint-30?sig=abc")
    assert found.adapter.peft_dir == f"{over_http}/checkpoint-30?[REDACTED]"
    assert found.adapter.fingerprint == fingerprint(adapter)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("memory://bucket/none", "there is nothing"),
        ("http://127.0.0.1:1/a", "cannot fetch http://127.0.0.1:1/a: .*[Cc]onnect"),
        ("nowhere://a", "cannot fetch nowhere://a: .*nowhere"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(reference: str, said: str) -> None:
    """With the reason."""
    with pytest.raises(InputError, match=said) as raised:
        audit(reference)
    assert len(str(raised.value).splitlines()) == 1


LIBRARIES = {"s3://b/a": "s3fs", "memory://a": "fsspec", "hf://org/name": "huggingface_hub"}
TRACKERS = {"runs:/1/a": "mlflow", "models:/a@b": "mlflow", "wandb://e/p/a:v0": "wandb"}


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "library"), [*LIBRARIES.items(), *TRACKERS.items()])
def test_a_library_that_is_missing_is_named(reference: str, library: str, tmp_path: Path) -> None:
    """One line that installs it, and exit code 1."""
    hidden = f"import sys\nsys.modules[{library!r}] = None\n"  # as if it were not installed, in children as well
    (tmp_path / "sitecustomize.py").write_text(hidden)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", reference]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = f"Error: cannot fetch {reference}: {library!r} is not installed: pip install {library}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_an_adapter_may_be_a_file(adapter: Path, over_http: str, in_memory: str) -> None:
    """As other tools save it, under any name; nothing else is fetched."""
    places = [f"{in_memory}/adapter_model.safetensors"]
    if importlib.util.find_spec("aiohttp"):
        places += [f"{over_http}/checkpoint-30/adapter_model.safetensors{query}" for query in ("", "?sig=abc")]
    for place in places:
        found = references.fetch(place).folder
        assert found.read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
        assert [path.name for path in found.parent.iterdir()] == ["adapter_model.safetensors"]
    with pytest.raises(InputError, match=r"style\.safetensors: there is no such file"):
        references.fetch(f"{in_memory}/style.safetensors")
