"""The JSON Schema of a policy file, for editors, made from our rules; `schema.json` beside this file is its copy.

python -m gradience.policy.catalogue.schema > gradience/policy/catalogue/schema.json
"""

import json
import sys
from typing import Any, Final

from gradience.policy import catalogue
from gradience.policy.catalogue.overrides import SEVERITIES
from gradience.policy.rule import Policy, Rule

# 5e-4 is a text in YAML 1.1, which some editors read.
_NUMBER: Final = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$"}]}


def json_schema(policy: Policy) -> dict[str, Any]:
    """The schema (draft 2020-12): what may be changed of each rule; our own values are the defaults."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:gradience:policy",
        "title": "Gradience: a policy",
        "description": "For each rule, by its code, what is to be otherwise. `gradience explain` lists them.",
        "type": ["object", "null"],
        "properties": {code: _entry(rule) for code, rule in policy.rules.items()},
        "additionalProperties": False,
    }


def _entry(rule: Rule) -> dict[str, Any]:
    thresholds = {name: {**_NUMBER, "default": value} for name, value in rule.thresholds.items()}
    return {
        "description": rule.condition,
        "type": "object",
        "properties": {
            "thresholds": {"type": "object", "properties": thresholds, "additionalProperties": False},
            "severity": {"enum": list(SEVERITIES), "default": rule.severity.value},
            "enabled": {"type": "boolean", "default": True},
        },
        "additionalProperties": False,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(catalogue.shipped()), indent=2) + "\n")
