"""Where a base model is looked for."""

import os
from pathlib import Path

import pytest

from gradience import references
from gradience.audit.base import place
from gradience.audit.base.place import located, states
from gradience.errors import InputError
from gradience.references import Fetched


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The references that would have been fetched; the working directory is empty."""
    seen: list[str] = []

    def fetch_model(given: str | Path) -> Fetched:
        if "://" in str(given):
            seen.append(str(given))
        return Fetched(folder=Path(given), shown=str(given))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(references, "fetch_model", fetch_model)
    place._fetched.cache_clear()
    return seen


@pytest.mark.parametrize("name", ["org/name", "meta-llama/Llama-3.2-1B", "org/name@v1"])
def test_a_bare_name_is_a_model_on_the_hub(asked: list[str], name: str) -> None:
    """As everywhere in the Hub's own libraries; and it is asked for once, however many adapters it is the base of."""
    located(name)
    located(name)
    assert asked == [f"hf://{name}"]


@pytest.mark.parametrize(
    "given", ["models/llama", "./org/name", "../org/name", "/org/name", "name", "a/b/c", Path("org/name")]
)
def test_a_path_never_touches_the_network(asked: list[str], given: str | Path) -> None:
    """Nor does a mistyped name in a directory that is here."""
    Path("models").mkdir()
    located(given)
    assert asked == []


def test_only_some_schemes_hold_models() -> None:
    """The others fetch the files of an adapter, and say so."""
    with pytest.raises(
        InputError, match=r"cannot fetch the model s3://bucket/llama: models come from hf:// or a local"
    ):
        references.fetch_model("s3://bucket/llama")


def test_a_folder_is_known_by_the_states_of_its_files(tmp_path: Path) -> None:
    """Another content is another state, even of the same size and time; a missing folder is refused in one line."""
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = (tmp_path / "model.safetensors").stat()
    first = states(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    os.utime(tmp_path / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert states(tmp_path) != first
    with pytest.raises(InputError, match=r"cannot use the base model .*missing: it cannot be read \(No such file"):
        states(tmp_path / "missing")
