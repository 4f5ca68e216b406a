"""How a recorder has its own run watched while it goes on: the second way up from here, taken lazily."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.types import RunEnd, TrainStep

_log = logging.getLogger(__name__)
_PLAIN: Final = frozenset({float, type(None)})


class Monitor(Protocol):
    """What watches one run, event by event."""

    def observe(self, event_name: str, step: int | None, payload: Mapping[str, Any], /) -> Iterable[Mapping[str, Any]]:
        """Take the next event of the run; the payloads of the alerts that it fires."""


class Said(msgspec.Struct, frozen=True):
    """What a monitor said of an event, and the step to record it at."""

    step: int | None = None
    alerts: Sequence[Mapping[str, Any]] = ()


_NOTHING: Final = Said()


class Watch:
    """A recorder's own monitor. Nothing here raises: one that fails is switched off, and said once."""

    def __init__(self, watching: Monitor) -> None:
        self._watching: Monitor | None = watching

    def catch_up(self, path: Path, run_id: str) -> None:
        """Show it what a resumed run has told so far."""
        if self._watching is not None:
            try:
                catch_up(self._watching, path, run_id)
            except Exception as error:  # noqa: BLE001 - the boundary to training: what watches it must not end it
                self._switch_off(error)

    def see(self, line: bytes, event: str, step: Any, payload: Mapping[str, Any]) -> Said:
        """Show it an event that was recorded: as it was given, or as its line says where that could be another."""
        if self._watching is None:
            return _NOTHING
        try:
            if event == TrainStep.name and _is_plain(step, payload):
                found = self._watching.observe(event, step, payload)
                return Said(step, list(found)) if found else _NOTHING
            read = codec.decode(line)
            return Said(read.step, list(watch(self._watching, Record(0, 0, line, read))))
        except Exception as error:  # noqa: BLE001 - as above
            return self._switch_off(error)

    def end(self, payload: Mapping[str, Any]) -> Said:
        """Ask it for what only the end can tell, before that is written: it seals the file and closes tracked runs."""
        if self._watching is None:
            return _NOTHING
        try:
            return Said(None, list(self._watching.observe(RunEnd.name, None, payload)))
        except Exception as error:  # noqa: BLE001 - as above
            return self._switch_off(error)

    def _switch_off(self, error: Exception) -> Said:
        self._watching = None
        _log.warning("the run is no longer watched: %s: %s", type(error).__name__, error)
        return _NOTHING


def watch_for(wanted: Any) -> Watch | None:
    """The watch over a recorder's run, by whatever `monitor` takes; None without one."""
    watching = monitor(wanted)
    return None if watching is None else Watch(watching)


def monitor(wanted: Any) -> Monitor | None:
    """Our detectors for True, with a policy file's thresholds for its path; what can observe as it is; None for none.

    Raises:
        TypeError: `wanted` is none of these.
        InputError: the policy file cannot be read.
        ConfigError: there are mistakes in it; each is named.
    """
    if wanted is None or wanted is False:
        return None
    if wanted is True:
        from gradience.policy.detectors import Monitors

        return Monitors()
    if isinstance(wanted, str | os.PathLike):
        from gradience.policy import catalogue
        from gradience.policy.detectors import Monitors

        return Monitors(catalogue.load(Path(wanted)))
    if not callable(getattr(wanted, "observe", None)):
        takes = "True, None, the path of a policy file or an object with observe()"
        raise TypeError(f"monitors is a {type(wanted).__name__}: it takes {takes}")
    found: Monitor = wanted
    return found


def catch_up(watching: Monitor, path: Path, run_id: str) -> None:
    """Show a monitor what a resumed run has told so far; its alerts of that are there already."""
    from gradience.vnext.telemetry_reader import TelemetryReader

    for record in TelemetryReader(path, run_id=run_id):
        watch(watching, record)


def watch(watching: Monitor, record: Record) -> Iterable[Mapping[str, Any]]:
    """Show a monitor the next line of its run; the alerts that it fires."""
    event = record.event
    if type(event) is not TrainStep:
        return watching.observe(event.name, event.step, record.payload)
    # The numbers that the contract names: to decode the others would cost more than everything else together.
    return watching.observe(event.name, event.step, {"loss": event.loss, "lr": event.lr, "grad_norm": event.grad_norm})


def _is_plain(step: Any, payload: Mapping[str, Any]) -> bool:
    """Whether a step as it was given reads back from its line as the same numbers: then nobody need read it."""
    get = payload.get
    return (
        type(step) is int
        and 0 <= step < 2**63
        and {type(get("loss")), type(get("lr")), type(get("grad_norm"))} <= _PLAIN
    )
