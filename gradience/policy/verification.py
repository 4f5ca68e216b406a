"""What a verification shows, as findings: nothing where it passes."""

from typing import Any, Final

from gradience.evaluation.paired import BASES
from gradience.evaluation.verdict import Usual
from gradience.evaluation.verification import Verification
from gradience.policy import catalogue
from gradience.policy.rule import Finder, Match, Policy, Thresholds, code
from gradience.vnext.types import Recommendation


def verification_failed(found: Verification, _: Thresholds) -> Match | None:
    """The compressed adapter is worse, beyond the tolerance and beyond one standard error."""
    return Match(facts=_facts(found)) if found.verified == "fail" else None


def verification_inconclusive(found: Verification, _: Thresholds) -> Match | None:
    """A drop of the size of the tolerance could not have been told from noise."""
    if found.verified != "inconclusive":
        return None
    return Match(facts={**_facts(found), "most": max(0.0, found.drop) + (found.standard_error or 0.0)})


def judge(found: Verification, *, policy: Policy | None = None) -> list[Recommendation]:
    """Every finding; none where it passed."""
    return (policy or catalogue.shipped()).findings(RULES, found)


def usual(policy: Policy) -> Usual:
    """The tolerance where nobody states one."""
    limits = policy.thresholds(code(verification_failed))
    return Usual(share=limits["tolerance_share"], coarsest=limits["coarsest_share"])


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


RULES: Final[tuple[Finder[Verification], ...]] = (verification_failed, verification_inconclusive)
