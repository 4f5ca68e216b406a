"""How a recorder has its own run watched while it goes on: the second way up from here, taken lazily."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from gradience.vnext.record import Record
from gradience.vnext.types import TrainStep

_PLAIN: Final = frozenset({float, type(None)})


class Monitor(Protocol):
    """What watches one run, event by event."""

    def observe(self, event_name: str, step: int | None, payload: Mapping[str, Any], /) -> Iterable[Mapping[str, Any]]:
        """Take the next event of the run; the payloads of the alerts that it fires."""


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


def is_plain(step: Any, payload: Mapping[str, Any]) -> bool:
    """Whether a step as it was given reads back from its line as the same numbers: then nobody need read it."""
    get = payload.get
    return (
        type(step) is int
        and 0 <= step < 2**63
        and {type(get("loss")), type(get("lr")), type(get("grad_norm"))} <= _PLAIN
    )


def watch(watching: Monitor, record: Record) -> Iterable[Mapping[str, Any]]:
    """Show a monitor the next line of its run; the alerts that it fires."""
    event = record.event
    if type(event) is not TrainStep:
        return watching.observe(event.name, event.step, record.payload)
    # The numbers that the contract names: to decode the others would cost more than everything else together.
    return watching.observe(event.name, event.step, {"loss": event.loss, "lr": event.lr, "grad_norm": event.grad_norm})
