"""The run: cases one after another, each audited, each judged."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.fuzz import case as cases
from tests.fuzz import reference, verdict
from tests.fuzz.case import Case
from tests.fuzz.mutate_pickle import CANARY
from tests.fuzz.reference_file import UnknownError
from tests.fuzz.worker import GROWTH_MIB, HANG_S, Keeper, Outcome

LINE: Final = 800  # characters of a refusal beyond the path: what a terminal still shows as a few lines


class Judged(msgspec.Struct, frozen=True):
    """A case with its outcome and, if that is not what it should be, the finding."""

    case: Case
    outcome: Outcome
    finding: str | None


def run(seed: int, numbers: Iterable[int]) -> Iterator[Judged]:
    """Judge the cases with these numbers."""
    keeper = Keeper()
    with room() as folder:
        try:
            for number in numbers:
                case = cases.write(seed, number, folder)
                outcome = keeper.audit(folder)
                yield Judged(case, outcome, _finding(case, outcome, folder))
        finally:
            keeper.close()


@contextmanager
def room() -> Iterator[Path]:
    """A folder for one case after another, in memory where that can be: each is written, read twice, thrown away."""
    memory = "/dev/shm"  # noqa: S108 - as a file system, not as a fixed name
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as place:
        yield Path(place) / "adapter"


def refusal_kind(refusal: str) -> str:
    """A refusal without names and numbers."""
    said = refusal.partition(": ")[2]
    return re.sub(r"\s+", " ", re.sub(r"'.*?'|\(.*?\)|\[.*?\]|/\S+|[0-9.e+-]*[0-9]", "_", said))[:70]


def outcomes(judged: Iterable[Judged]) -> Counter[str]:
    """How many were audited, refused, or are findings."""
    return Counter("finding" if one.finding else "audited" if one.outcome.record else "refused" for one in judged)


def _finding(case: Case, outcome: Outcome, folder: Path) -> str | None:
    if CANARY.exists():
        CANARY.rmdir() if CANARY.is_dir() else CANARY.unlink()
        return "code of the file was run"
    if outcome.failure is not None:
        return outcome.failure
    if outcome.seconds > HANG_S or outcome.growth_mib > GROWTH_MIB:
        return f"{outcome.seconds:.1f} s and {outcome.growth_mib:.0f} MiB"
    if outcome.refusal is not None:
        return _of_refusal(case, outcome.refusal, folder)
    assert outcome.record is not None
    try:
        truth = reference.expected(folder, Path(outcome.record.adapter.adapter_weights_path).name)
    except UnknownError as unknown:
        return f"audited, but the reference knows no answer: {unknown}"
    return "; ".join(verdict.differences(outcome.record, truth)) or None


def _of_refusal(case: Case, refusal: str, folder: Path) -> str | None:
    if not refusal.isprintable() or str(folder) not in refusal or len(refusal) > LINE:
        return f"a refusal that is no clear line: {refusal[:200]!r}"
    if not case.harmless:
        return None
    try:
        truth = reference.expected(folder, case.weights)
    except UnknownError:
        return None
    return f"a good adapter of {len(truth)} modules was refused: {refusal}"
