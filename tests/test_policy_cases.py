"""Every rule fires on what it is for, and is silent on what is nearly that."""

from collections.abc import Callable

import pytest

from gradience.audit.record import AuditRecord
from gradience.policy import catalogue
from tests.policy_cases.table import TABLE

CODES = sorted(catalogue.shipped().rules)


def test_no_rule_is_without_a_case() -> None:
    """Nor is there a case of a rule that is gone."""
    assert sorted(TABLE) == CODES


@pytest.mark.parametrize("code", sorted(TABLE))
def test_a_rule_fires_and_is_silent(code: str, make_record: Callable[..., AuditRecord]) -> None:
    """Both, on inputs that differ in little."""
    assert code in TABLE[code].fires(make_record)
    assert code not in TABLE[code].silent(make_record)
