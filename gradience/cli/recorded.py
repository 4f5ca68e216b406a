"""A recorded run as the commands that only look get it: everything about it from one pass over its file."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from gradience.cli import run_places
from gradience.cli.abandoned import is_abandoned
from gradience.errors import TelemetryError
from gradience.history import trainer_state
from gradience.policy import catalogue, detected, monitor
from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.policy.rule import Policy, ordered
from gradience.vnext import codec
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Recommendation


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which run of a file, and how to judge it."""

    run_id: str | None = None
    policy: Policy | None = None
    strict: bool = False

    def replay(self) -> Replay:
        """What to hand the records of a file to."""
        return Replay(self.run_id, lambda: Monitors(self.policy))


class Recorded(msgspec.Struct, frozen=True):
    """One run: its signals, its replay, and what was found in it, worst first."""

    place: str
    seen: SignalSnapshot
    replay: Replay
    found: list[Recommendation]


def read(place: str, asked: Asked) -> Recorded:
    """The run of a file: a journal, or a Trainer's state.

    Raises:
        InputError: It cannot be read, or holds no such run.
    """
    if not run_places.is_trainer_state(place):
        return _read(place, TelemetryReader(place, run_id=asked.run_id, strict=asked.strict), asked)
    with TemporaryDirectory(prefix="gradience-") as folder:
        spool = Path(folder, "run.jsonl")
        _translate(Path(place), spool)
        return _read(place, TelemetryReader(spool, run_id=asked.run_id, strict=asked.strict), asked)


def _read(place: str, reader: TelemetryReader, asked: Asked) -> Recorded:
    replay = asked.replay()
    seen = msgspec.structs.replace(reader.watched(replay.take), seal=reader.seal())
    if not seen.ended and is_abandoned(Path(place)):
        replay.finish()
    return judged(place, seen, replay, asked)


def _translate(state: Path, journal: Path) -> None:
    """Write a Trainer's state as the journal that a recorder would have written."""
    content = trainer_state.read(state)
    run_id = f"{state.resolve().parent.name}-{hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:8]}"
    with journal.open("wb") as stream:
        for event in trainer_state.events(content, run_id=run_id, ts=state.stat().st_mtime):
            stream.write(codec.encode(event))


def judged(place: str, seen: SignalSnapshot, replay: Replay, asked: Asked) -> Recorded:
    """What there is to say of a run, once all of it that there is was seen.

    Raises:
        TelemetryError: It is no run.
    """
    if not seen.counts:
        which = "no telemetry event" if asked.run_id is None else f"no event of run {asked.run_id}"
        raise TelemetryError(f"cannot monitor {place}: {which} in it")
    policy = asked.policy or catalogue.shipped()
    own = monitor.monitor(seen, policy=policy)
    known = {one.action for one in own}
    fired = [one for one in detected.findings(replay.fired, policy) if one.action not in known]
    return Recorded(place, seen, replay, ordered([*own, *fired]))
