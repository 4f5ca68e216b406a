from collections.abc import Mapping

import pytest

from gradience.policy.rule import TEXT_LIMIT, Match, Rule, at_or_above, confidence_word, findings
from gradience.vnext.types import Recommendation, Severity


def _above(case: float, limits: Mapping[str, float]) -> Match | None:
    return Match(facts={"value": case}) if case > limits["bar"] else None


HIGH: Rule[float] = Rule(
    code="high",
    severity=Severity.WARNING,
    confidence="medium",
    find=_above,
    message="{value:g} is above {bar:g}",
    source="a test",
    thresholds={"bar": 1.0},
    test="ask for less than {value:g}",
)


def test_a_finding_carries_the_thresholds_it_was_made_with() -> None:
    """Evidence is the facts and the thresholds, so that a finding can be checked and a change be seen."""
    finding = HIGH.apply(2.0)
    assert finding is not None
    assert finding.evidence == {"value": 2.0, "thresholds": {"bar": 1.0}}
    assert (finding.message, finding.test, finding.rationale) == ("2 is above 1", "ask for less than 2", "a test")


def test_a_rule_that_does_not_apply_says_nothing() -> None:
    """None, not an empty finding."""
    assert HIGH.apply(1.0) is None


def test_findings_are_ordered_by_severity_then_confidence() -> None:
    """The first is the one to act on."""

    def always(_: float, __: Mapping[str, float]) -> Match:
        return Match()

    unsure: Rule[float] = Rule(
        code="unsure", severity=Severity.WARNING, confidence="low", find=always, message="m", source="s"
    )
    error: Rule[float] = Rule(
        code="error", severity=Severity.ERROR, confidence="low", find=always, message="m", source="s"
    )
    assert [finding.action for finding in findings([unsure, HIGH, error], 2.0)] == ["error", "high", "unsure"]


def test_a_message_too_long_for_the_recorder_is_cut() -> None:
    """A fact of any length fits; the recorder would redact a longer text altogether."""
    named: Rule[float] = Rule(
        code="named",
        severity=Severity.INFO,
        confidence="low",
        find=lambda _, __: Match(facts={"name": "x" * 1000}),
        message="{name}",
        source="s",
    )
    finding = named.apply(0.0)
    assert finding is not None
    assert len(finding.message) == TEXT_LIMIT
    assert finding.message.endswith("...")


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
    found = [
        Recommendation(severity=Severity.INFO, action="a", message=""),
        Recommendation(severity=Severity.WARNING, action="b", message=""),
    ]
    assert [finding.action for finding in at_or_above(found, bar)] == met
