"""Which journal a command on an adapter adds to: that of the run which trained it, or a new one beside the adapter."""

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import InputError, TelemetryError
from gradience.evaluation import verification
from gradience.evaluation.verification import Verification
from gradience.policy.audit_rules import Earlier, Run
from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.policy.rule import Policy
from gradience.vnext import runs
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot

NAME: Final = "run.jsonl"
NEVER_IMPROVED: Final = "never_improved"  # the rule that withholds rank advice from a run that learned nothing
ABOVE: Final = 2  # folders above the adapter: OUT/checkpoint-500 and OUT/run-1/checkpoint-500 both find OUT's journal
_LONGEST: Final = 60  # characters of a reference in a file's name


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """The file to append to; `run_id` is None where it holds no run yet, or does not exist."""

    path: Path
    run_id: str | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal says that bears on an adapter: how its run was meant and went, and the latest verification."""

    run: Run = Run()
    verification: Verification | None = None

    def verified(self, fingerprint: str | None) -> str:
        """Whether the hypothesis about this adapter was tested: `pass`, `fail` or `no`."""
        found = self.verification
        if found is None or fingerprint is None or found.adapter.fingerprint != fingerprint:
            return "no"
        return "no" if found.verified == "inconclusive" else found.verified


def named(path: Path) -> Journal:
    """The journal that `--append` names: it has to exist and hold a run.

    Raises:
        TelemetryError: it does not.
    """
    runs.check(path)
    last = runs.last(path)
    if last is None:
        raise TelemetryError(f"cannot append to {path}: it holds no run yet; name another file, or use --telemetry")
    return Journal(path=path, run_id=last.run_id)


def at(path: Path) -> Journal:
    """The journal that `--telemetry` names, which may still have to be made.

    Raises:
        TelemetryError: there is something else under that name.
    """
    if not path.exists():
        return Journal(path=path)
    runs.check(path)
    last = runs.last(path)
    return Journal(path=path, run_id=last.run_id if last else None)


def beside(adapter: Path) -> Journal:
    """The journal in or above the directory of the adapter, else one to be made in it.

    Raises:
        InputError: several could be meant.
        TelemetryError: a file that is no journal is in the way of a new one.
    """
    return around(adapter) or at((adapter if adapter.is_dir() else adapter.parent) / NAME)


def around(adapter: Path) -> Journal | None:
    """The journal in or above the directory of the adapter; None without one.

    Raises:
        InputError: several could be meant.
    """
    here = directory(adapter)
    found = (_in(folder) for folder in [here, *here.parents][: ABOVE + 1])
    return next((journal for journal in found if journal is not None), None)


def apart(reference: str) -> Journal:
    """The journal of an adapter that was fetched: in the working directory, under a name of the reference's own.

    Raises:
        TelemetryError: a file that is no journal is in the way of a new one.
    """
    mark = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "-", reference.partition(":")[2]).strip("-.")[-_LONGEST:]
    return at(Path(f"audit-{name.strip('-.')}-{mark}.jsonl"))


def known(journal: Journal | None, policy: Policy | None = None) -> Known:
    """What the journal tells, the detectors judging by `policy`; nothing where there is none, or no run in it."""
    if journal is None or journal.run_id is None:
        return Known()
    replay = Replay(journal.run_id, lambda: Monitors(policy))
    seen = TelemetryReader(journal.path, run_id=journal.run_id).watched(replay.take)
    never_improved = any(one.code == NEVER_IMPROVED for one in replay.fired)
    return Known(
        run=Run(config=seen.config or ConfigSnapshot(), never_improved=never_improved, earlier=_earlier(seen)),
        verification=verification.read(seen.verification),
    )


def _earlier(seen: SignalSnapshot) -> Earlier | None:
    """The latest audit that the journal has, if it says what is compared."""
    step, rank = seen.lora_audit_step, (seen.lora_audit or {}).get("energy_rank_95_p90")
    return None if step is None or not isinstance(rank, int | float) else Earlier(step, rank)


def _in(folder: Path) -> Journal | None:
    first = _journal(folder / NAME)
    if first is not None:
        return first
    found = [journal for path in sorted(folder.glob("*.jsonl")) if (journal := _journal(path)) is not None]
    if len(found) > 1:
        names = ", ".join(str(journal.path) for journal in found)
        raise InputError(f"cannot choose the run that trained the adapter: {names}; name one with --append")
    return found[0] if found else None


def _journal(path: Path) -> Journal | None:
    try:
        return named(path)
    except TelemetryError:
        return None


def directory(adapter: Path) -> Path:
    """The directory of an adapter, absolute; other tools' adapters are single files."""
    here = adapter.resolve()
    return here.parent if here.is_file() else here
