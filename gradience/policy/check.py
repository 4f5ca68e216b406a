"""The pre-flight check: what a configuration says before any step is taken."""

from collections.abc import Sequence
from typing import Final

from gradience.policy import check_rules
from gradience.policy.check_catalogue import RULES
from gradience.policy.rule import findings
from gradience.vnext.types import ConfigSnapshot, Recommendation

SHOWN: Final = 3  # rules are not additive: a long list of hints hides the one that matters


def check(config: ConfigSnapshot) -> list[Recommendation]:
    """Every finding, worst first."""
    return findings(RULES, check_rules.case(config))


def worst(found: Sequence[Recommendation]) -> list[Recommendation]:
    """The findings to show when nobody asked for all of them."""
    return list(found[:SHOWN])
