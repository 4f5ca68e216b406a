"""Findings as SARIF 2.1.0 (OASIS), which code-scanning services show beside a repository's other alerts.

Every finding is a result at the adapter's `adapter_config.json`, or at the reference that it was fetched from; so is a
refusal. Locations below the root are relative to it, as the services want them.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gradience import __version__, references
from gradience.batch.row import Row
from gradience.batch.work import Answer
from gradience.policy import catalogue
from gradience.policy.audit_rules import GATES, RULES
from gradience.policy.rule import Rule, Word, codes
from gradience.report.plain import plain
from gradience.vnext.types import Recommendation, Severity

VERSION: Final = "2.1.0"
SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT: Final = "%SRCROOT%"  # what GitHub calls the top of the checkout
UNUSABLE: Final = "adapter_refused"
LEVELS: Final = {
    Severity.INFO: "note",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.CRITICAL: "error",
}
PRECISION: Final[dict[Word, str]] = {"low": "low", "medium": "medium", "high": "high", "certain": "very-high"}


def document(answers: Iterable[Answer], root: Path) -> dict[str, Any]:
    """The log of one run over all adapters, in the order given."""
    results = [result for answer in answers for result in _results(answer, root.resolve())]
    driver = {"name": "Gradience", "semanticVersion": __version__, "rules": [*map(_rule, _rules()), _UNUSABLE_RULE]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"uri": f"{root.resolve().as_uri()}/"}},
        "results": results,
    }
    return {"$schema": SCHEMA, "version": VERSION, "runs": [run]}


_PLACES: Final = {code: place for place, code in enumerate([*codes((*GATES, *RULES)), UNUSABLE])}
_UNUSABLE_RULE: Final = {
    "id": UNUSABLE,
    "shortDescription": {"text": "The adapter cannot be audited."},
    "help": {"text": "The message says what is wrong with it and what to do."},
    "defaultConfiguration": {"level": "error"},
}


def _rules() -> list[Rule]:
    shipped = catalogue.shipped()
    return [shipped.rules[code] for code in codes((*GATES, *RULES))]


def _rule(rule: Rule) -> dict[str, Any]:
    parts = {"Hypothesis": rule.hypothesis, "Test": rule.test, "Limits": rule.limits, "Source": rule.source}
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.condition},
        "fullDescription": {"text": _named(rule.message)},
        "help": {"text": "\n\n".join(f"{name}: {_named(text)}" for name, text in parts.items() if text)},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"precision": PRECISION[rule.confidence], "tags": ["lora", "peft"]},
    }


def _named(template: str) -> str:
    """A rule's template with the names of its facts in the places of their values."""
    return re.sub(r"\{(\w+)[^}]*\}", r"<\1>", template)


def _results(answer: Answer, root: Path) -> list[dict[str, Any]]:
    if answer.row.error is not None:
        return [_result(answer.row, root, UNUSABLE, "error", answer.row.error)]
    return [_result(answer.row, root, one.action, LEVELS[one.severity], _message(one)) for one in answer.findings]


def _message(finding: Recommendation) -> str:
    parts = {"Hypothesis": finding.hypothesis, "Test": finding.test, "Limits": finding.limits}
    return "\n\n".join([finding.message, *(f"{name}: {text}" for name, text in parts.items() if text)])


def _result(row: Row, root: Path, code: str, level: str, message: str) -> dict[str, Any]:
    location = _location(row, root)
    mark = hashlib.sha256(f"{code}\n{location['uri']}".encode()).hexdigest()[:32]
    return {
        "ruleId": code,
        "ruleIndex": _PLACES[code],
        "level": level,
        "message": {"text": f"{plain(row.name)}: {message}"},
        "locations": [{"physicalLocation": {"artifactLocation": location, "region": {"startLine": 1}}}],
        # The second is the only one that GitHub compares. Neither holds numbers: trained again, an alert stays itself.
        "partialFingerprints": {"adapterFinding/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"},
        "properties": _properties(row),
    }


def _location(row: Row, root: Path) -> dict[str, str]:
    if references.parse(row.peft_dir):
        return {"uri": quote(row.peft_dir, safe="/:@")}
    path = Path(os.path.abspath(row.adapter_config_path or row.peft_dir))  # noqa: PTH100 - without "..", and without following links
    if path.is_relative_to(root):
        return {"uri": quote(path.relative_to(root).as_posix()), "uriBaseId": ROOT}
    return {"uri": path.as_uri()}


def _properties(row: Row) -> dict[str, Any]:
    names = ("verdict", "r", "suggested_rank", "rank_waste", "surplus_params", "fingerprint")
    return {name: value for name in names if (value := getattr(row, name)) is not None}
