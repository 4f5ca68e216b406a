"""A rule: data that says what it means, and one pure function that says whether it applies.

The function returns facts, never prose. The facts fill the rule's message and stand in the finding's evidence beside
the thresholds that were used, so that a finding can be checked, and so that a later change of a threshold is visible.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from gradience.vnext.types import Recommendation, Severity

Case = TypeVar("Case")
Word = Literal["low", "medium", "high", "certain"]

CONFIDENCE: Final[Mapping[Word, float]] = {"low": 0.3, "medium": 0.6, "high": 0.8, "certain": 1.0}
TEXT_LIMIT: Final = 256  # longer strings are redacted by the recorder's default


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A rule applies: the facts it found, and what of the rule's own words they change."""

    facts: dict[str, Any] = {}
    severity: Severity | None = None
    scope: str | None = None


class Rule(msgspec.Struct, Generic[Case], frozen=True, kw_only=True):
    """One rule. `message`, `hypothesis`, `test` and `limits` are format strings over the facts and thresholds.

    `source` says where the rule comes from, or that it is a heuristic. `limits` says what the finding does not show.
    """

    code: str
    severity: Severity
    confidence: Word
    find: Callable[[Case, Mapping[str, float]], Match | None]
    message: str
    source: str
    thresholds: dict[str, float] = {}
    hypothesis: str | None = None
    test: str | None = None
    limits: str | None = None
    scope: str = "run"

    def apply(self, case: Case) -> Recommendation | None:
        """The finding, or None when the rule has nothing to say."""
        match = self.find(case, self.thresholds)
        return None if match is None else self._finding(match)

    def _finding(self, match: Match) -> Recommendation:
        words = {**self.thresholds, **match.facts}
        evidence = {**match.facts, "thresholds": self.thresholds} if self.thresholds else match.facts
        return Recommendation(
            severity=match.severity or self.severity,
            action=self.code,
            message=_fill(self.message, words),
            rationale=self.source,
            confidence=CONFIDENCE[self.confidence],
            scope=match.scope or self.scope,
            evidence=evidence,
            hypothesis=_fill_optional(self.hypothesis, words),
            test=_fill_optional(self.test, words),
            limits=_fill_optional(self.limits, words),
        )


def findings(rules: Iterable[Rule[Case]], case: Case) -> list[Recommendation]:
    """What the rules find in `case`, worst first."""
    return ordered(found for rule in rules if (found := rule.apply(case)) is not None)


def ordered(found: Iterable[Recommendation]) -> list[Recommendation]:
    """By severity, then confidence, then code: the first is the one to act on."""
    return sorted(found, key=lambda one: (-one.severity.rank, -(one.confidence or 0.0), one.action))


def confidence_word(value: float | None) -> Word:
    """The word for a confidence of 0..1: the strongest whose number it reaches."""
    reached: list[Word] = [word for word, number in CONFIDENCE.items() if value is not None and value >= number]
    return reached[-1] if reached else "low"


def at_or_above(found: Iterable[Recommendation], bar: str) -> list[Recommendation]:
    """The findings that meet `bar`: a severity (that one or worse), a code, or the family that codes begin with."""
    if bar in {severity.value for severity in Severity}:
        return [one for one in found if one.severity.rank >= Severity(bar).rank]
    return [one for one in found if one.action == bar or one.action.startswith(f"{bar}_")]


def _fill(template: str, words: Mapping[str, Any]) -> str:
    text = template.format_map(words)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 3] + "..."


def _fill_optional(template: str | None, words: Mapping[str, Any]) -> str | None:
    return None if template is None else _fill(template, words)
