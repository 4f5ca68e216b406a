from typing import Any

import msgspec
import pytest

from gradience.policy.rule import (
    TEXT_LIMIT,
    Finder,
    Match,
    Policy,
    Rule,
    Thresholds,
    at_or_above,
    code,
    confidence_word,
)
from gradience.vnext.types import Recommendation, Severity


def high(case: float, limits: Thresholds) -> Match | None:
    return Match(facts={"value": case}) if case > limits["bar"] else None


def unsure(_: float, __: Thresholds) -> Match:
    return Match()


def error(_: float, __: Thresholds) -> Match:
    return Match()


def named(_: float, __: Thresholds) -> Match:
    return Match(facts={"name": "x" * 1000})


def grave(_: float, __: Thresholds) -> Match:
    return Match(severity=Severity.ERROR)


FINDERS: dict[str, Finder[float]] = {code(one): one for one in (high, unsure, error, named, grave)}


def rule(code: str, **words: Any) -> Rule:
    """A rule of few words."""
    given = {"phase": "check", "severity": Severity.WARNING, "confidence": "low", "condition": "c", "message": "m"}
    return Rule(code=code, **{"source": "s", **given, **words})


HIGH = rule(
    "high",
    confidence="medium",
    message="{value:g} is above {bar:g}",
    source="a test",
    thresholds={"bar": 1.0},
    test="ask for less than {value:g}",
)


def found(case: float, *rules: Rule) -> list[Recommendation]:
    """What the rules find, `high` by its bar and the others always."""
    return Policy({one.code: one for one in rules}).findings([FINDERS[one.code] for one in rules], case)


def test_a_finding_carries_the_thresholds_it_was_made_with() -> None:
    """Evidence is the facts and the thresholds, so that a finding can be checked and a change be seen."""
    (finding,) = found(2.0, HIGH)
    assert finding.evidence == {"value": 2.0, "thresholds": {"bar": 1.0}}
    assert (finding.message, finding.test, finding.rationale) == ("2 is above 1", "ask for less than 2", "a test")


def test_a_rule_that_does_not_apply_says_nothing() -> None:
    """And nor does one that a policy switched off."""
    assert found(1.0, HIGH) == []
    assert found(2.0, msgspec.structs.replace(HIGH, enabled=False)) == []


def test_findings_are_ordered_by_severity_then_confidence() -> None:
    """The first is the one to act on."""
    error = rule("error", severity=Severity.ERROR)
    assert [finding.action for finding in found(2.0, rule("unsure"), HIGH, error)] == ["error", "high", "unsure"]


def test_a_message_too_long_for_the_recorder_is_cut() -> None:
    """A fact of any length fits; the recorder would redact a longer text altogether."""
    (finding,) = found(0.0, rule("named", message="{name}"))
    assert len(finding.message) == TEXT_LIMIT
    assert finding.message.endswith("...")


def test_what_a_policy_says_otherwise_stands_in_the_finding() -> None:
    """Its severity wins over what a match would say, and the evidence names what was changed."""
    changed = Policy({"grave": rule("grave")}).changed("grave", bar=2.0).rules["grave"]
    assert changed.changed == ("bar",)
    quiet = msgspec.structs.replace(changed, severity=Severity.INFO, changed=("severity",))
    assert [one.severity for one in found(0.0, rule("grave"))] == [Severity.ERROR]
    (finding,) = found(0.0, quiet)
    assert (finding.severity, finding.evidence["policy_changed"]) == (Severity.INFO, ["severity"])


@pytest.mark.parametrize(
    ("value", "word"),
    [(0.0, "low"), (None, "low"), (0.3, "low"), (0.5, "low"), (0.6, "medium"), (0.9, "high"), (1.0, "certain")],
)
def test_a_confidence_is_the_strongest_word_it_reaches(value: float | None, word: str) -> None:
    """Numbers of other producers find their word, too."""
    assert confidence_word(value) == word


@pytest.mark.parametrize(
    ("bar", "met"), [("info", ["a", "b"]), ("warning", ["b"]), ("error", []), ("a", ["a"]), ("c", [])]
)
def test_a_bar_is_a_severity_or_a_code(bar: str, met: list[str]) -> None:
    """A severity is met by it and anything worse, a code by itself alone."""
    given = [
        Recommendation(severity=Severity.INFO, action="a", message=""),
        Recommendation(severity=Severity.WARNING, action="b", message=""),
    ]
    assert [finding.action for finding in at_or_above(given, bar)] == met
