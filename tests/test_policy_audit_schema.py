"""The JSON Schema of an audit's document."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

import gradience.policy
from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.cli.main import group
from gradience.policy import audit_event, audit_schema
from gradience.policy.advice import advise

MakeRecord = Callable[..., AuditRecord]
SaveAdapter = Callable[..., Path]
COPY = Path(gradience.policy.__file__).parent / "audit_schema.json"
MANUAL = Path(__file__).parents[1] / "docs" / "USER_MANUAL.md"
SPECTRA = {"layers.0.q_proj": [8.0, 6.0, *[0.1] * 14], "layers.1.mlp": [0.0] * 16, "lm_head": [1.0]}


@pytest.fixture(scope="module")
def validator() -> Any:
    """Checks a document against the checked-in schema."""
    checked_in = json.loads(COPY.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(checked_in)
    return jsonschema.Draft202012Validator(checked_in)


def test_the_checked_in_schema_is_that_of_the_types() -> None:
    """`python -m gradience.policy.audit_schema > gradience/policy/audit_schema.json` makes it so."""
    assert json.loads(COPY.read_text(encoding="utf-8")) == json.loads(json.dumps(audit_schema.json_schema()))


@pytest.mark.parametrize(
    "asked",
    [
        [],
        ["--layers", "--suggest-per-layer"],
        ["--top-wasteful", "1"],
        ["--telemetry", "run.jsonl"],
        ["--energy-level", "1"],
    ],
)
@pytest.mark.parametrize("needed", [4, 0])
def test_what_the_command_prints_is_valid_and_named(
    save_adapter: SaveAdapter, tmp_path: Path, validator: Any, asked: list[str], needed: int
) -> None:
    """With every option, of a trained adapter and of one without any update; the schema knows each key."""
    adapter = save_adapter(tmp_path / "a", needed=needed)
    options = [str(tmp_path / one) if one.endswith(".jsonl") else one for one in asked]
    result = CliRunner().invoke(group, ["audit", "--peft-dir", str(adapter), "--json", *options])
    document = json.loads(result.stdout)
    assert [error.message for error in validator.iter_errors(document)] == []
    assert set(document) <= set(validator.schema["properties"])


def test_the_artifact_of_a_tracker_is_valid(make_record: MakeRecord, validator: Any) -> None:
    """Tables as columns, as they stand in the event."""
    record = make_record(SPECTRA)
    metrics = audit_event.metrics(record, advise(record))
    artifact = {"schema": audit_event.DOCUMENT_SCHEMA, "run_id": "r", "step": None, **metrics, "advice": None}
    assert [error.message for error in validator.iter_errors(json.loads(json.dumps(artifact)))] == []


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "gradience.audit/v9"},
        {"n_layers": "four"},
        {"by_layer": [{"name": "layers.0"}]},
        {"by_layer": {"n_layers": [1]}},
        {"advice": {"verdict": "fine"}},
        {"layer_data": {"layer_rows": [{}]}},
        {"energy_kept": None},
    ],
)
def test_a_document_that_breaks_the_contract_is_not(
    make_record: MakeRecord, validator: Any, change: dict[str, Any]
) -> None:
    """Another schema, wrong types, rows without their fields."""
    record = make_record(SPECTRA)
    document = json.loads(json.dumps(audit_event.document(record, advise(record), list(record.modules))))
    assert validator.is_valid(document)
    assert not validator.is_valid(document | change)


@pytest.mark.parametrize("key", ["schema", "audit_version", "rank_waste", "by_type", "by_layer", "candidate_params"])
def test_a_document_without_a_part_of_the_audit_is_not(make_record: MakeRecord, validator: Any, key: str) -> None:
    """Whoever reads one can rely on it."""
    record = make_record(SPECTRA)
    document = json.loads(json.dumps(audit_event.document(record, advise(record))))
    assert validator.is_valid(document)
    del document[key]
    assert not validator.is_valid(document)


def test_the_manual_defines_every_measure_of_a_module() -> None:
    """A number without a definition is no measurement."""
    words = MANUAL.read_text(encoding="utf-8").split("## What the audit measures")[1].split("\n## ")[0]
    facts = {"name", "kind", "module_type", "target", "layer", "r", "alpha", "scale", "in_features", "out_features"}
    measures = set(ModuleAudit.__struct_fields__) - facts - {"params", "singular_values"}
    assert {
        name for name in measures if f"`{name}`" not in words and f"`_{name.rpartition('_')[2]}`" not in words
    } == set()


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def test_every_number_of_the_document_is_one_of_json(make_record: MakeRecord) -> None:
    """No NaN and no infinity, of zero updates either: what does not exist is null."""
    record = make_record({"layers.0.q_proj": [0.0, 0.0], "layers.1.q_proj": [1e-300, 0.0]})
    document = audit_event.document(record, advise(record), list(record.modules))
    assert "NaN" not in json.dumps(msgspec.to_builtins(document))
    assert float("inf") not in set(_numbers(document))
