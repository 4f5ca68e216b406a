"""The JSON Schema of sink lists, and the examples under configs/sinks/."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import gradience.mirror.config
from gradience.mirror import config, registry
from gradience.mirror.config import schema
from gradience.mirror.registry import Installed

ROOT = Path(__file__).parents[1]
COPY = Path(gradience.mirror.config.__file__).parent / "schema.json"
EXAMPLES = sorted((ROOT / "configs" / "sinks").glob("*.yaml"))
ENV = {"GRADIENCE_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x"}


def _ours() -> dict[str, str]:
    """The sinks of this distribution, whatever an older installation in this environment has of them."""
    tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project["entry-points"]["gradience.sinks"])


@pytest.fixture(scope="module")
def validator() -> Any:
    """Checks a document against the checked-in schema."""
    checked_in = json.loads(COPY.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(checked_in)
    return jsonschema.Draft202012Validator(checked_in)


def test_the_checked_in_schema_is_that_of_the_types() -> None:
    """`python -m gradience.mirror.config.schema > gradience/mirror/config/schema.json` makes it so."""
    ours = {name: registry.find(value) for name, value in sorted(_ours().items())}
    assert json.loads(COPY.read_text(encoding="utf-8")) == json.loads(json.dumps(schema.json_schema(ours)))


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sink of this distribution is installed."""
    ours = tuple(Installed(name, "gradience", "", value) for name, value in sorted(_ours().items()))
    monkeypatch.setattr(registry, "installed", lambda: ours)


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_valid_and_means_something(path: Path, validator: Any) -> None:
    """Each is read as it stands, and an editor finds the schema by its first line."""
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == COPY.resolve()
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
    found = config.parse(text, path.name, ENV)
    assert [wish.type for wish in found.wishes] == {"both": ["mlflow", "wandb"]}.get(path.stem, [path.stem])
    assert found.remarks == ()


@pytest.mark.usefixtures("offered")
def test_the_manual_s_list_can_be_read() -> None:
    """And its table has every key of an entry."""
    chapter = (ROOT / "docs" / "USER_MANUAL.md").read_text(encoding="utf-8").split("## Sink lists in YAML")[1]
    text = chapter.partition("```yaml\n")[2].partition("```")[0]
    assert [wish.label for wish in config.parse(text, "sinks.yaml", {}).wishes] == ["mlflow", "dashboards"]
    keys = json.loads(COPY.read_text(encoding="utf-8"))["$defs"]["Entry"]["properties"]
    assert [key for key in keys if f"| `{key}` |" not in chapter] == []


def test_there_is_an_example_of_each_sink() -> None:
    """And one of several sinks in a larger file."""
    assert {path.stem for path in EXAMPLES} == {*_ours(), "both"}


@pytest.mark.parametrize(
    "entries",
    [
        ["mlflow"],
        [{"type": "mlflow", "batch_lines": "${LINES:-5}", "run": None}],
        [{"type": "my_package:Sink", "anything": 1}],
        None,
    ],
)
def test_what_can_be_read_is_valid(validator: Any, entries: Any) -> None:
    """As a list, and under `sinks` beside other things."""
    assert validator.is_valid(entries)
    assert validator.is_valid({"sinks": entries, "model": {"r": 8}})


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"type": "mlflow", "trackin_uri": "x"},
        {"type": "mlflow", "options": {"trackin_uri": "x"}},
        {"type": "mlflow", "events": ["alrt"]},
        {"type": "mlflow", "flush_interval_s": -1},
        {"type": "mlflow", "batch_lines": "many"},
        {"type": "webhook", "min_severity": "loud"},
        {"type": "my_package:Sink", "rename": ["x"]},
    ],
)
def test_an_editor_sees_the_mistakes_that_reading_finds(validator: Any, entry: dict[str, Any]) -> None:
    """Unknown keys, wrong types, names that nobody has."""
    assert not validator.is_valid([entry])
    assert not validator.is_valid({"sinks": [entry]})
