"""Recordings over HTTP that go through trouble: each healthy first, closed in the middle of it, and mended after."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import msgspec

from tests.integrations.faults import recording, seen
from tests.integrations.faults.proxy import Fault, Proxy, proxy
from tests.integrations.faults.recording import Recording, until
from tests.integrations.faults.server import Server
from tests.integrations.faults.table import Row

HEALTHY: Final = 1500  # steps: more than one batch, so that memory has seen a full one before the fault
DURING: Final = 2500
LONG: Final = 40_000


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a recording, and what was said meanwhile."""

    row: Row
    said: str
    behind: int = 0  # lines that the side-car left, for good reason or not
    synced: int = 0  # exit code of the `sync` that brought the rest


Story = Callable[[Server, Path], Told]


def outage(fault: Fault, tracker: Server, folder: Path) -> Told:
    """The tracker does not answer as it should; when it does again, nobody needs to lift a finger."""
    with _begun(tracker, folder) as (run, way):
        healthy_kib = _healthy(run)
        way.fault = fault
        run.record(LONG if fault is Fault.REFUSED else DURING, 0.0 if fault is Fault.REFUSED else 0.0005)
        until(lambda: way.hits > 0 or fault is Fault.REFUSED)
        run.stay(recording.OUTAGE_S)
        close = run.close()
        way.fault = Fault.NONE
        return _told(fault.value, run, tracker, close.longest_s, healthy_kib)


def creation(tracker: Server, folder: Path) -> Told:
    """The tracked run is created and written to, and each answer about that gets lost."""
    with proxy(tracker.port) as way:
        way.fault = Fault.CUT
        with recording.recording(folder, _sink(way)) as run:
            run.record(DURING, 0.0005)
            until(lambda: way.hits > 1)
            run.stay(recording.OUTAGE_S)
            way.fault = Fault.NONE
            close = run.close()
            return _told("cut from the creation on", run, tracker, close.longest_s)


def login(tracker: Server, folder: Path) -> Told:
    """The credentials count no more; then a person mends that."""
    with _begun(tracker, folder) as (run, way):
        _healthy(run)
        way.fault = Fault.LOGIN_401
        close = _go_on(run)
        way.fault = Fault.NONE
        return _told("401", run, tracker, close)


def deletion(tracker: Server, folder: Path) -> Told:
    """Somebody deletes the tracked run, and restores it later."""
    with _begun(tracker, folder) as (run, _):
        _healthy(run)
        assert run.cursor is not None
        tracked = run.cursor.tracked[run.run_id].id
        _post(tracker, "delete", tracked)
        close = _go_on(run)
        _post(tracker, "restore", tracked)
        return _told("run deleted", run, tracker, close)


def restart(tracker: Server, folder: Path) -> Told:
    """The server is killed and started again, while a run is recorded."""
    with _begun(tracker, folder) as (run, _):
        healthy_kib = _healthy(run)
        run.record(DURING, 0.0005)
        tracker.kill()
        try:
            run.record(DURING, 0.0005)
            run.stay(recording.OUTAGE_S)
        finally:
            tracker.start()
        until(lambda: run.delivered == run.lines())
        close = run.close()
        return _told("server killed, restarted", run, tracker, close.longest_s, healthy_kib)


OUTAGES: Final[dict[str, Story]] = {
    fault.name.lower(): partial(outage, fault)
    for fault in Fault
    if fault not in (Fault.NONE, Fault.SLOW, Fault.LOGIN_401)
}
PARKED: Final[dict[str, Story]] = {"login": login, "deletion": deletion}
STORIES: Final[dict[str, Story]] = {**OUTAGES, **PARKED, "creation": creation}


@contextmanager
def _begun(tracker: Server, folder: Path) -> Iterator[tuple[Recording, Proxy]]:
    with proxy(tracker.port) as way, recording.recording(folder, _sink(way)) as run:
        yield run, way


def _sink(way: Proxy) -> dict[str, str]:
    return {"type": "mlflow", "tracking_uri": way.address}


def _healthy(run: Recording) -> int:
    """Record until memory has seen all of a delivery; its size."""
    run.record(HEALTHY)
    until(lambda: run.delivered == HEALTHY + 1)
    return run.memory_kib()


def _go_on(run: Recording) -> float:
    """Record on until delivery has stopped for good; how long it took to close."""
    run.record(DURING, 0.0005)
    until(lambda: "until this is mended" in run.said)
    return run.close().longest_s


def _told(fault: str, run: Recording, tracker: Server, close_s: float, healthy_kib: int | None = None) -> Told:
    run.see_off()
    behind = run.lines() - run.delivered
    synced = run.sync().returncode if behind else 0
    held = seen.in_mlflow(seen.sqlite(tracker.database), run.run_id)
    grown = None if healthy_kib is None else run.peak_kib - healthy_kib
    remarks = f"{behind} left to `sync`" if behind else ""
    row = run.row(fault, held, close_s=close_s, grown_kib=grown, remarks=remarks)
    return Told(row=row, said=run.said, behind=behind, synced=synced)


def _post(tracker: Server, what: str, tracked: str) -> None:
    body = json.dumps({"run_id": tracked}).encode()
    address = f"{tracker.address}/api/2.0/mlflow/runs/{what}"
    with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=60):  # noqa: S310 - loopback
        pass
