"""The same cases through the command line: a report and exit code 0, or one `Error:` line and exit code 1."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.fuzz import case as cases
from tests.fuzz.fuzz import Judged, room
from tests.fuzz.worker import Keeper, Outcome

_START_S: Final = 5.0  # for the interpreter on a busy machine, beside what an audit may take


def run(seed: int, numbers: Iterable[int]) -> Iterator[Judged]:
    """Give the cases with these numbers to `gradience audit`, and compare with what the library says."""
    keeper = Keeper()
    with room() as folder:
        try:
            for number in numbers:
                case = cases.write(seed, number, folder)
                outcome = keeper.audit(folder)
                yield Judged(case, outcome, _finding(folder, outcome))
        finally:
            keeper.close()


def _finding(folder: Path, outcome: Outcome) -> str | None:
    command = [sys.executable, "-W", "error", "-m", "gradience", "audit", "--layers", "--peft-dir", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_START_S + 5, check=False)
    except subprocess.TimeoutExpired:
        return "the command did not end"
    out, err = done.stdout.decode(), done.stderr.decode()
    lines = err.splitlines()
    if done.returncode == 0 and outcome.record is not None and out and not lines:
        return None
    if done.returncode == 1 and outcome.refusal is not None and not out and len(lines) == 1:
        return None if lines[0] == f"Error: {outcome.refusal}" else f"{lines[0]!r} is not {outcome.refusal!r}"
    return f"exit code {done.returncode}, {len(out)} characters of output, and on stderr: {err[-800:]}"
