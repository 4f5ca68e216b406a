"""A rule: words and thresholds that are data, and one pure function that says whether it applies.

The function goes by the rule's code. It returns facts, never prose: they fill the rule's message and stand in the
finding's evidence beside the thresholds that were used, so that a finding can be checked, and a change of a threshold
seen.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from gradience.vnext.types import Recommendation, Severity

Case = TypeVar("Case")
Word = Literal["low", "medium", "high", "certain"]
Phase = Literal["check", "audit", "monitor", "regression", "verification"]
Thresholds = Mapping[str, float]

CONFIDENCE: Final[Mapping[Word, float]] = {"low": 0.3, "medium": 0.6, "high": 0.8, "certain": 1.0}
TEXT_LIMIT: Final = 256  # longer strings are redacted by the recorder's default


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A rule applies: the facts it found, and what of the rule's own words they change."""

    facts: dict[str, Any] = {}
    severity: Severity | None = None
    scope: str | None = None


Finder = Callable[[Case, Thresholds], Match | None]  # its name is the rule's code


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. `message`, `hypothesis`, `test` and `limits` are format strings over the facts and thresholds.

    `condition` says when it applies, `source` where that comes from, or that it is a heuristic, `limits` what the
    finding does not show. `changed` are the names of what somebody's policy says otherwise than we do.
    """

    code: str
    phase: Phase
    severity: Severity
    confidence: Word
    condition: str
    message: str
    source: str
    thresholds: dict[str, float] = {}
    hypothesis: str | None = None
    test: str | None = None
    limits: str | None = None
    scope: str = "run"
    enabled: bool = True
    changed: tuple[str, ...] = ()

    def finding(self, match: Match) -> Recommendation:
        """What it says of a match."""
        words = {**self.thresholds, **match.facts}
        severity = self.severity if "severity" in self.changed else match.severity or self.severity
        return Recommendation(
            severity=severity,
            action=self.code,
            message=_fill(self.message, words),
            rationale=self.source,
            confidence=CONFIDENCE[self.confidence],
            scope=match.scope or self.scope,
            evidence={**match.facts, **self._basis()},
            hypothesis=_fill_optional(self.hypothesis, words),
            test=_fill_optional(self.test, words),
            limits=_fill_optional(self.limits, words),
        )

    def _basis(self) -> dict[str, Any]:
        used = {"thresholds": self.thresholds} if self.thresholds else {}
        return {**used, **({"policy_changed": list(self.changed)} if self.changed else {})}


class Policy(msgspec.Struct, frozen=True):
    """Every rule by its code."""

    rules: Mapping[str, Rule]

    def changed(self, code: str, **thresholds: float) -> "Policy":
        """The same with other thresholds for a rule, as if somebody's file had said so."""
        rule = self.rules[code]
        words = {"thresholds": rule.thresholds | thresholds, "changed": (*rule.changed, *thresholds)}
        return Policy({**self.rules, code: msgspec.structs.replace(rule, **words)})

    def thresholds(self, code: str) -> Thresholds:
        """Those of a rule."""
        return self.rules[code].thresholds

    def findings(self, finders: Iterable[Finder[Case]], case: Case) -> list[Recommendation]:
        """What these rules find in `case`, worst first."""
        return ordered(found for finder in finders for found in self._found(finder, case))

    def _found(self, finder: Finder[Case], case: Case) -> Iterable[Recommendation]:
        rule = self.rules[code(finder)]
        match = finder(case, rule.thresholds) if rule.enabled else None
        if match is not None:
            yield rule.finding(match)


def code(finder: Finder[Case]) -> str:
    """The code of the rule that a function belongs to."""
    return finder.__name__


def codes(finders: Iterable[Finder[Case]]) -> list[str]:
    """The codes of several."""
    return [code(finder) for finder in finders]


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
