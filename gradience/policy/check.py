"""The pre-flight check: what a configuration says before any step is taken."""

from collections.abc import Sequence
from typing import Final

from gradience.policy import catalogue, check_rules, peft_rules
from gradience.policy.rule import Policy
from gradience.vnext.types import ConfigSnapshot, Recommendation

RULES: Final = (*check_rules.RULES, *peft_rules.RULES)
SHOWN: Final = 3  # rules are not additive: a long list of hints hides the one that matters


def check(config: ConfigSnapshot, *, policy: Policy | None = None) -> list[Recommendation]:
    """Every finding, worst first."""
    return (policy or catalogue.shipped()).findings(RULES, check_rules.case(config))


def worst(found: Sequence[Recommendation]) -> list[Recommendation]:
    """The findings to show when nobody asked for all of them."""
    return list(found[:SHOWN])
