"""Findings for the terminal: the fact first, then hypothesis, test and limits."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from gradience.policy.rule import confidence_word
from gradience.report.layout import labelled
from gradience.report.numbers import number
from gradience.report.plain import plain
from gradience.vnext.types import Recommendation, Severity

# Readable on light and on dark, which yellow and cyan are not.
COLOURS: Final = {Severity.INFO: None, Severity.WARNING: "magenta", Severity.ERROR: "red", Severity.CRITICAL: "red"}


def severity(level: Severity) -> str:
    """The severity as a coloured word."""
    return click.style(level.value, fg=COLOURS[level], bold=level.rank >= Severity.ERROR.rank or None)


def full(finding: Recommendation, *, evidence: bool = False) -> list[str]:
    """A finding with everything that lets a reader judge it."""
    parts = (("hypothesis", finding.hypothesis), ("test", finding.test), ("limits", finding.limits))
    lines = brief(finding)
    for label, text in parts:
        lines += labelled(label, text) if text else []
    return lines + (_basis(finding) if evidence else [])


def brief(finding: Recommendation) -> list[str]:
    """A finding's fact alone."""
    certainty = f"{confidence_word(finding.confidence)} confidence"
    return [
        f"{severity(finding.severity)} {plain(finding.action)} ({certainty})",
        *labelled("", finding.message, width=0),
    ]


def _basis(finding: Recommendation) -> list[str]:
    source = labelled("source", finding.rationale) if finding.rationale else []
    scope = labelled("scope", finding.scope) if finding.scope else []
    shown = "  ".join(f"{key}={value}" for key, value in _flat(finding.evidence))
    return [*source, *scope, *(labelled("evidence", shown) if shown else [])]


def _flat(evidence: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in evidence.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", text) for inner, text in _flat(value))
        elif isinstance(value, float):
            yield key, number(value)
        elif isinstance(value, list | tuple):
            yield key, ",".join(str(item) for item in value)
        else:
            yield key, str(value)
