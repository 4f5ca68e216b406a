"""What is said of a journal whose seal is broken, or cannot be checked."""

from pathlib import Path

import pytest

from gradience.mirror.groups import groups
from gradience.mirror.sealed import Sealed
from gradience.testing import samples
from gradience.vnext import journal

START = samples.line("r", "run_start", config={})
BROKEN = samples.line("r", "run_end", status="ok", seal={"lines": 1, "sha256": "0" * 64})
UNSEALED = samples.line("r", "run_end", status="ok")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return samples.write(tmp_path / "run.jsonl", [START, BROKEN, UNSEALED])


@pytest.fixture
def sealed(path: Path) -> Sealed:
    """A drain that has passed all of its lines."""
    made = Sealed(path)
    for group in groups(journal.read(path)):
        made.passed(group)
    return made


def test_a_broken_seal_is_told_once(sealed: Sealed, caplog: pytest.LogCaptureFixture) -> None:
    """However often a drain that follows a file asks; an end without a seal takes nothing back."""
    sealed.check()
    sealed.check()
    (said,) = caplog.messages
    assert said.endswith("line 2 sealed its first 1 lines, and they are others now.")


def test_a_journal_that_is_gone_by_then_costs_nothing(
    sealed: Sealed, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything was delivered."""
    path.unlink()
    sealed.check()
    assert caplog.messages == []
