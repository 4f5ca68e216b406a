"""The JSON Schema of the contract."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import gradience.vnext
from gradience.vnext import schema
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import SCHEMA, ConfigSnapshot, Recommendation, Severity

FOLDER = Path(gradience.vnext.__file__).parent
ENVELOPE = {"schema": SCHEMA, "ts": 1.0, "run_id": "r", "step": None}


@pytest.fixture(scope="module")
def validator() -> Any:
    """Checks a line against the checked-in schema."""
    checked_in = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(checked_in)
    return jsonschema.Draft202012Validator(checked_in)


def test_the_checked_in_schema_is_that_of_the_types() -> None:
    """`python -m gradience.vnext.schema > gradience/vnext/schema.json` makes it so."""
    assert json.loads((FOLDER / "schema.json").read_text(encoding="utf-8")) == schema.json_schema()


def test_every_line_that_is_written_is_valid(tmp_path: Path, validator: Any) -> None:
    """Of every event, with odd values too."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.run_start(ConfigSnapshot(), meta={"a": object()})
        tw.run_start({"value": [1]}, meta="x")
        tw.train_step(-1, loss=math.nan, lr=[1.0, math.inf], ts=3, text="x" * 300)
        tw.eval(None, split="test", metrics={"ppl": math.inf})
        tw.metrics(1, kind="k", metrics={"columns": {"rank": [1, 2, None]}})
        tw.alert(severity="loud", code="C", message="m")
        tw.recommendation(Recommendation(severity=Severity.INFO, action="a", message="m"), verdict="ok")
        tw.log("shiny", 1, value=1)
    lines = [json.loads(line) for line in (tmp_path / "r").read_bytes().splitlines()]
    assert len(lines) == 9
    assert [error.message for line in lines for error in validator.iter_errors(line)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"event": "eval", "metrics": {}},
        {"event": "alert", "severity": "loud", "code": "c", "message": "m"},
        {"event": "train_step", "step": -1},
        {"event": "train_step", "step": 1.5},
        {"event": "train_step", "loss": "1.5"},
        {"event": "shiny", "schema": "v9"},
        {"event": "shiny", "ts": "now"},
        {"event": "run_end"},
    ],
)
def test_a_line_that_breaks_the_contract_is_not(validator: Any, change: dict[str, Any]) -> None:
    """Missing parts, wrong types, another schema."""
    assert not validator.is_valid(ENVELOPE | change)


def test_the_contract_in_words_names_every_event_and_field() -> None:
    """SCHEMA.md cannot forget one."""
    words = (FOLDER / "SCHEMA.md").read_text(encoding="utf-8")
    parts = schema.json_schema()["$defs"]
    names = {name for part in parts.values() for name in part.get("properties", {})}
    names |= {event for part in parts.values() for event in part.get("properties", {}).get("event", {}).get("enum", [])}
    assert {name for name in names if f"`{name}`" not in words} == set()
