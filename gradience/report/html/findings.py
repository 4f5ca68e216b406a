"""Findings and advice as a page shows them: each with the hypothesis, and the test that would refute it."""

from collections.abc import Iterator, Sequence

from gradience.policy.rule import confidence_word, ordered
from gradience.report.html.page import Finding, Pair
from gradience.report.html.words import cut
from gradience.vnext.types import Recommendation


def findings(found: Sequence[Recommendation], origin: str = "") -> list[Finding]:
    """The worst first; `origin` says who found them, where it is not the page's maker."""
    return [
        Finding(
            kind=one.severity.value,
            code=one.action,
            confidence=confidence_word(one.confidence),
            message=cut(one.message),
            parts=list(_parts(one)),
            origin=origin,
        )
        for one in ordered(found)
    ]


def _parts(one: Recommendation) -> Iterator[Pair]:
    texts = (("Hypothesis", one.hypothesis), ("Test", one.test), ("Limits", one.limits), ("Source", one.rationale))
    yield from (Pair(label, cut(text)) for label, text in texts if text)
