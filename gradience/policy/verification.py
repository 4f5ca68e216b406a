"""What a verification shows, as findings: nothing where it passes."""

from collections.abc import Mapping
from typing import Any, Final

from gradience.evaluation.paired import BASES
from gradience.evaluation.verification import Verification
from gradience.policy.rule import Match, Rule, findings
from gradience.vnext.types import Recommendation, Severity

Thresholds = Mapping[str, float]


def verification_failed(found: Verification, _: Thresholds) -> Match | None:
    """The compressed adapter is worse, beyond the tolerance and beyond one standard error."""
    return Match(facts=_facts(found)) if found.verified == "fail" else None


def verification_inconclusive(found: Verification, _: Thresholds) -> Match | None:
    """A drop of the size of the tolerance could not have been told from noise."""
    if found.verified != "inconclusive":
        return None
    return Match(facts={**_facts(found), "most": max(0.0, found.drop) + (found.standard_error or 0.0)})


def judge(found: Verification) -> list[Recommendation]:
    """Every finding; none where it passed."""
    return findings(RULES, found)


def _facts(found: Verification) -> dict[str, Any]:
    noise = "unknown" if found.standard_error is None else f"{found.standard_error:.3g}"
    return {
        "metric": found.metric,
        "original": found.original,
        "compressed": found.compressed,
        "drop": found.drop,
        "tolerance": found.tolerance,
        "standard_error": found.standard_error,
        "noise": noise,
        "basis": BASES[found.standard_error_from],
        "r": found.adapter.r,
        "rank": found.compressed_adapter.r,
    }


RULES: Final[tuple[Rule[Verification], ...]] = (
    Rule(
        code="verification_failed",
        severity=Severity.ERROR,
        confidence="high",
        find=verification_failed,
        message="Compressed from rank {r} to {rank}, {metric} is worse by {drop:.4g}: from {original:.4g} to "
        "{compressed:.4g}, with a tolerance of {tolerance:.3g} and a standard error of {noise}.",
        source="the evaluation that was run on both adapters",
        hypothesis="The directions that were cut off matter to this evaluation.",
        test="Compress to a higher rank, or by --energy 0.99, and verify again.",
        limits="One evaluation; one standard error is exceeded by chance in about one of six.",
    ),
    Rule(
        code="verification_inconclusive",
        severity=Severity.WARNING,
        confidence="certain",
        find=verification_inconclusive,
        message="{metric} went from {original:.4g} to {compressed:.4g}. One standard error ({noise}) is more than the "
        "tolerance of {tolerance:.3g}: a drop of that size is neither shown nor ruled out.",
        source="the standard error of the evaluation that was run on both adapters",
        hypothesis="A drop of up to {most:.3g} is as compatible with what was measured.",
        test="Evaluate on more examples, print their values for an exact paired comparison, or give --repeats.",
        limits="The standard error is {basis}.",
    ),
)
