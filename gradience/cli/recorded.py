"""A recorded run as the commands that only look get it: everything about it from one pass over its file."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gradience.audit.disk import folder, trainer
from gradience.errors import InputError, TelemetryError
from gradience.mirror.fleet import search
from gradience.policy import catalogue, detected, monitor
from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.policy.rule import Policy, ordered
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Recommendation

_SUFFIXES: Final = (".jsonl", ".jsonl.gz")
_WEIGHTS: Final = (*folder.WEIGHTS, *trainer.FOREIGN)


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
    """The run of a file.

    Raises:
        TelemetryError: It cannot be read, or holds no such run.
    """
    reader = TelemetryReader(place, run_id=asked.run_id, strict=asked.strict)
    replay = asked.replay()
    seen = msgspec.structs.replace(reader.watched(replay.take), seal=reader.seal())
    return judged(place, seen, replay, asked)


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


def find(places: Sequence[str]) -> list[str]:
    """The recorded runs that are meant by files, patterns and directories, each once, in that order.

    Raises:
        InputError: A directory holds none.
    """
    return list(dict.fromkeys(found for place in places for found in _meant(place)))


def is_run(place: str) -> bool:
    """Whether a place is meant as a recorded run: a file of one, a pattern of files, or a directory without an adapter.

    A directory with an adapter is that adapter, whatever else lies in it.
    """
    path = Path(place)
    if path.is_dir():
        is_adapter = trainer.home(path) is not None or any((path / name).is_file() for name in _WEIGHTS)
        return not is_adapter and bool(search.find([path]).journals)
    return path.name.endswith(_SUFFIXES)


def _meant(place: str) -> list[str]:
    if os.path.isdir(place):  # noqa: PTH112 - a place may be no path at all
        found = [str(path) for path in search.find([Path(place)]).journals]
        if not found:
            raise InputError(f"cannot find a recorded run in {place}: no .jsonl file in it is telemetry")
        return found
    if os.path.lexists(place) or not glob.has_magic(place):
        return [place]
    return sorted(glob.glob(place)) or [place]  # noqa: PTH207 - as a shell would
