"""Advice on an audited adapter: a verdict, and hypotheses with the tests that would refute them.

`suggested_rank` means compression after training. Abstaining is a verdict with a reason, never an empty report.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gradience.audit.record import AUDIT_VERSION, AuditRecord
from gradience.policy import catalogue, check_rules, ranks
from gradience.policy.audit_rules import GATES, RULES, UNMEASURED, AuditCase, BrokenCase, Run
from gradience.policy.ranks import RankSuggestion
from gradience.policy.rule import Policy, confidence_word, ordered
from gradience.vnext.types import Recommendation, Severity

Verdict = Literal["ok", "review", "act", "abstain", "error"]
Suggestion = Literal["compress", "probe_higher_rank", "none"]
Confidence = Literal["low", "medium", "high"]

SUGGESTIONS: Final[dict[str, Suggestion]] = {"over_provisioned": "compress", "flat_spectrum": "probe_higher_rank"}


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What the mechanic says of one audit. `ranks` are numbers; `suggested_rank` is advice, None when withheld.

    `codes` are those of findings of warning and above, and `over_provisioned`. `confidence` is that of the finding
    that made the verdict; a verdict of ok rests on the absence of findings, which is weak evidence: low.
    """

    verdict: Verdict
    codes: tuple[str, ...]
    suggestion: Suggestion
    suggested_rank: int | None
    energy_kept: float | None
    rank_waste: float
    confidence: Confidence
    recommendations: tuple[Recommendation, ...]
    ranks: RankSuggestion
    verified: str = "no"
    audit_version: int = AUDIT_VERSION


def advise(
    record: AuditRecord, *, run: Run | None = None, copies: int | None = None, policy: Policy | None = None
) -> Advice:
    """Advise on an audit; what is known of its `run` may withhold rank advice, or add a caveat.

    `copies` are the adapters of its kind that are served, where somebody says.
    """
    policy = policy or catalogue.shipped()
    suggestion = ranks.suggest(record, policy.thresholds(ranks.CODE))
    case = AuditCase(record=record, suggestion=suggestion, run=run or Run(), copies=copies)
    caveats = policy.findings((check_rules.quantized_base,), check_rules.case(case.run.config))
    found = policy.findings(GATES, case) or ordered([*policy.findings(RULES, case), *caveats])
    doing = _suggestion(found)
    compresses = doing == "compress"
    return Advice(
        verdict=max((_verdict(one) for one in found), key=VERDICTS.index, default="ok"),
        codes=tuple(sorted({one.action for one in found if _is_searchable(one)})),
        suggestion=doing,
        suggested_rank=suggestion.suggested_rank if compresses else None,
        energy_kept=suggestion.energy_kept if compresses else None,
        rank_waste=suggestion.rank_waste,
        confidence=_confidence(found),
        recommendations=tuple(found),
        ranks=suggestion,
        audit_version=record.audit_version,
    )


def unmeasured(names: Sequence[str], modules: int, *, policy: Policy | None = None) -> list[Recommendation]:
    """What is said of an adapter that could not be measured, because these of its modules are not finite."""
    return (policy or catalogue.shipped()).findings(UNMEASURED, BrokenCase(tuple(names), modules))


VERDICTS: Final[tuple[Verdict, ...]] = ("ok", "review", "abstain", "act", "error")  # the worst wins


def _verdict(finding: Recommendation) -> Verdict:
    if finding.severity.rank >= Severity.ERROR.rank:
        return "error"
    by_code: dict[str, Verdict] = {"audit_abstained": "abstain", "over_provisioned": "review"}  # however grave
    return by_code.get(finding.action, "act" if finding.severity is Severity.WARNING else "ok")


def _suggestion(found: Sequence[Recommendation]) -> Suggestion:
    return next((SUGGESTIONS[one.action] for one in found if one.action in SUGGESTIONS), "none")


def _is_searchable(finding: Recommendation) -> bool:
    return finding.severity.rank >= Severity.WARNING.rank or finding.action == "over_provisioned"


def _confidence(found: Sequence[Recommendation]) -> Confidence:
    deciding = max(found, key=lambda one: VERDICTS.index(_verdict(one)), default=None)
    if deciding is None or _verdict(deciding) == "ok":
        return "low"
    word = confidence_word(deciding.confidence)
    return "high" if word == "certain" else word
