"""Which files a sink uploads."""

from typing import Any

import pytest

from gradience.errors import InputError
from gradience.mirror import artifacts


@pytest.mark.parametrize("asked", [(), ["telemetry"], ("audit", "report", "telemetry"), iter(["audit", "audit"])])
def test_any_of_the_kinds_may_be_chosen(asked: Any) -> None:
    """None of them too."""
    assert artifacts.chosen(asked) <= set(artifacts.KINDS)


def test_by_default_the_journal_stays_at_home() -> None:
    """It is sent where somebody says so, and nowhere else."""
    assert artifacts.chosen(artifacts.DEFAULT) == {"audit", "report"}


@pytest.mark.parametrize("asked", ["telemetry", None, 3, ["telemetrie"], ["audit", 3]])
def test_anything_else_is_refused_with_the_kinds(asked: Any) -> None:
    """A text is no list, though its letters could be taken for one."""
    with pytest.raises(InputError, match="it takes a list of audit, report, telemetry"):
        artifacts.chosen(asked)
