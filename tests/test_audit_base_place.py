"""Where a base model is looked for."""

from pathlib import Path

import pytest

from gradience import references
from gradience.audit.base.place import located
from gradience.errors import InputError
from gradience.references import Fetched


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The references that would have been fetched; the working directory is empty."""
    seen: list[str] = []

    def fetch_model(place: str | Path) -> Fetched:
        if "://" in str(place):
            seen.append(str(place))
        return Fetched(folder=Path(place), shown=str(place))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(references, "fetch_model", fetch_model)
    return seen


@pytest.mark.parametrize("name", ["org/name", "meta-llama/Llama-3.2-1B", "org/name@v1"])
def test_a_bare_name_is_a_model_on_the_hub(asked: list[str], name: str) -> None:
    """As everywhere in the Hub's own libraries."""
    located(name)
    assert asked == [f"hf://{name}"]


@pytest.mark.parametrize(
    "place", ["models/llama", "./org/name", "../org/name", "/org/name", "name", "a/b/c", Path("org/name")]
)
def test_a_path_never_touches_the_network(asked: list[str], place: str | Path) -> None:
    """Nor does a mistyped name in a directory that is here."""
    Path("models").mkdir()
    located(place)
    assert asked == []


def test_only_some_schemes_hold_models() -> None:
    """The others fetch the files of an adapter, and say so."""
    with pytest.raises(
        InputError, match=r"cannot fetch the model s3://bucket/llama: models come from hf:// or a local"
    ):
        references.fetch_model("s3://bucket/llama")
