"""A short fuzz run: `make fuzz` makes it long."""

import sys

import pytest

from tests.fuzz import command, corpus, fuzz
from tests.fuzz.fuzz import Judged
from tests.fuzz.mutation import REGISTER, SAFE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc"),
    pytest.mark.filterwarnings("ignore"),  # torch's, about the odd things that are made here on purpose
]
SEED = 1
CASES = 600
COMMANDS = 40


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """The cases, audited and judged."""
    return list(fuzz.run(SEED, range(CASES)))


def test_no_adapter_gives_a_traceback_a_hang_or_a_wrong_number(judged: list[Judged]) -> None:
    """Each is audited as the dense reference says, or refused in one line that names it, in bounded time and memory."""
    assert [f"{one.case}: {one.finding}" for one in judged if one.finding] == []


def test_the_run_reaches_every_kind_and_nearly_every_mutation(judged: list[Judged]) -> None:
    """Costly mutations are rare, and those of one format; the others all occur, and on every kind of adapter some."""
    usual = {one.name for one in REGISTER if one.weight >= 1 and one.forms >= SAFE}
    assert usual <= {name for one in judged for name in one.case.mutations}
    assert corpus.KINDS.keys() == {one.case.kind for one in judged}


def test_good_and_bad_adapters_are_told_apart(judged: list[Judged]) -> None:
    """A harness whose every case is refused, or none, would prove nothing."""
    outcomes = fuzz.outcomes(judged)
    assert min(outcomes["audited"], outcomes["refused"]) > CASES // 4


def test_the_command_says_the_same_in_one_line_and_an_exit_code() -> None:
    """A report and 0, or `Error:` and 1; never a traceback, a warning or half a report."""
    assert [f"{one.case}: {one.finding}" for one in command.run(SEED, range(COMMANDS)) if one.finding] == []
