"""The trackers that a run is mirrored to while it is recorded."""

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.errors import InputError
from gradience.mirror import catchup, config, inhouse, reason
from gradience.mirror.cursor import Cursor, CursorFile
from gradience.mirror.live.hosts import Host, Sidecar, Thread
from gradience.mirror.live.news import News
from gradience.mirror.live.spec import Spec, Terms
from gradience.mirror.live.supervisor import Supervisor
from gradience.mirror.sink import Sink
from gradience.mirror.wish import Wish

log = logging.getLogger("gradience.mirror")

HOSTS: Final = ("process", "thread", "auto")
TERMS: Final = Terms()


class _Supervised(msgspec.Struct, frozen=True):
    """A drain, and how long the end of the recording waits for it."""

    supervisor: Supervisor
    timeout_s: float
    in_house: bool


class LiveMirror:
    """One live drain for each sink, from the first event on.

    Raises:
        GradienceError: a sink is not installed, does not take an option, or cannot be hosted here.
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(self, path: Path, sinks: Any, host: str, state_dir: Path | None, timeout_s: float) -> None:
        if host not in HOSTS:
            raise ValueError(f"host is {host!r}: it takes 'process', 'thread' or 'auto'")
        if not timeout_s >= 0:
            raise ValueError(f"close_timeout_s is {timeout_s!r}: it takes seconds")
        self._path = path
        self._place = path.absolute()
        self._state_dir = state_dir and state_dir.expanduser().absolute()
        self._timeout_s = timeout_s
        self._host_wanted = host
        found = config.read(sinks)
        self._wishes = found.wishes
        self._supervised: list[_Supervised] = []
        self._pid = os.getpid()
        if host != "thread":
            _check_processes(self._wishes)
        for remark in found.remarks:
            log.warning("%s", remark)

    def begin(self, run_id: str) -> None:
        """Start a drain for each sink; one that cannot be started is said, and costs the others nothing."""
        for wanted in self._wishes:
            self._start(wanted, run_id)
        atexit.register(self._at_exit)

    def close(self, *, replaced: bool = False) -> None:
        """See every drain off, or say how far it is behind; in a forked child they are not ours."""
        atexit.unregister(self._at_exit)
        if replaced:
            self._each(lambda one, _now: one.supervisor.hand_over())
        else:
            self._each(_close)

    def _at_exit(self) -> None:
        """Nobody closed the recorder: a side-car waits for the end of this process, which tells how the run ended."""
        self._each(lambda one, now: _close(one, now) if one.in_house else one.supervisor.catch_up(now + one.timeout_s))

    def _each(self, act: Callable[[_Supervised, float], object]) -> None:
        supervised, self._supervised = self._supervised, []
        now = time.monotonic()
        for one in supervised if os.getpid() == self._pid else ():
            try:
                act(one, now)
            except Exception as error:  # noqa: BLE001, PERF203 - the boundary to training: its end is not ours to spoil
                log.warning("mirroring of %s did not end in order: %s", self._path, reason.of(error))

    def _start(self, wanted: Wish, run_id: str) -> None:
        try:
            in_house, supervisor = self._supervisor(wanted, run_id)
            supervisor.start()
        except Exception as error:  # noqa: BLE001 - the boundary to training: a mirror must not end a run
            why, mend = reason.of(error), self._catch_up(wanted, run_id, None)
            log.warning("%s: not mirrored: %s; catch up with: %s", wanted.label, why, mend)
        else:
            own_s = wanted.close_timeout_s
            timeout_s = self._timeout_s if own_s is None else own_s
            self._supervised.append(_Supervised(supervisor, timeout_s, in_house))

    def _supervisor(self, wanted: Wish, run_id: str) -> tuple[bool, Supervisor]:
        inherited = _inherited(wanted.sink())
        sink = wanted.sink(**inherited)
        in_house = self._is_in_house(sink, run_id)
        store = CursorFile(self._place, sink.name, sink.target, self._state_dir)
        spec = Spec(
            journal=str(self._place),
            wish=msgspec.structs.replace(wanted, options={**inherited, **wanted.options}),
            state_dir=str(self._state_dir) if self._state_dir else None,
            recorder=os.getpid(),
            terms=TERMS,
        )
        news = News(
            store,
            wanted.name or sink.name,
            run_id,
            lambda cursor: self._catch_up(spec.wish, run_id, cursor),
            in_house=in_house,
        )
        host: Host = Thread(spec, store, sink) if in_house else Sidecar(spec, store, os.environ, Path.cwd())
        return in_house, Supervisor(host, store, self._place, news)

    def _is_in_house(self, sink: Sink, run_id: str) -> bool:
        wanted = self._host_wanted
        return wanted == "thread" or (wanted == "auto" and inhouse.is_home(sink, self._place, run_id))

    def _catch_up(self, wanted: Wish, run_id: str, cursor: Cursor | None) -> str:
        """The command for `sync`, where a run that is active here has to be named as long as nothing leads to it."""
        options = {key: value for key, value in wanted.options.items() if key != "active_run"}
        if (active := wanted.options.get("active_run")) and not (cursor and run_id in cursor.tracked):
            options.setdefault("run", active)
            wanted = msgspec.structs.replace(wanted, source=None)
        anew = cursor is not None and cursor.replaced
        wanted = msgspec.structs.replace(wanted, options=options)
        return catchup.command(self._path, wanted, self._state_dir, from_start=anew)


def _close(one: _Supervised, now: float) -> None:
    one.supervisor.close(now + one.timeout_s)


def _inherited(sink: Sink) -> Mapping[str, str]:
    """The options that lead a sink in another process to the run that is active in this one."""
    find = getattr(sink, "active_run", None)
    try:
        found: Mapping[str, str] = find() if find is not None else {}
    except Exception as error:  # noqa: BLE001 - found by default, in foreign code: worth a remark, not a run
        log.debug("%s: the active run cannot be told: %s", sink.name, reason.of(error))
        return {}
    return found


def _check_processes(wishes: Sequence[Wish]) -> None:
    if sys.platform == "win32" or not sys.executable:
        raise InputError(
            "cannot mirror from a process of its own here: give host='thread', or run `gradience sync` beside training"
        )
    if made := [wanted.label for wanted in wishes if wanted.made is not None]:
        raise InputError(f"cannot hand the sink object {made[0]!r} to another process: name it, or give host='thread'")
