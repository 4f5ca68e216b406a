"""The suite that every sink must pass: the promises of `gradience.mirror.sink`, against the sink's real tracker."""

import hashlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import uuid4

from gradience.mirror.history import History
from gradience.mirror.sink import Batch, Position, Run, Sink, Tracked
from gradience.testing import samples
from gradience.vnext.record import Record

CLOSE_S: Final = 5.0
PROBE_S: Final = 10.0
_SLACK_S: Final = 5.0  # a busy machine may be late, a sink that blocks is later


def check_sink(
    factory: Callable[[], Sink],
    contents: Callable[[Tracked], object],
    *,
    libraries: Sequence[str] = (),
    secrets: Sequence[str] = (),
    remembers: bool = True,
) -> None:
    """Fail unless the sinks that `factory` makes keep the contract.

    Each call of `factory` returns a new sink for the same, working tracker. `contents` reads back what the tracker
    holds for a tracked run, in a form that compares equal when it is the same. `libraries` are the outside packages
    that only `open` may import; `secrets` the credentials that the sinks were given, none of which may show.
    `remembers` is False for a tracker that cannot keep the position of a journal: its sink then says None, so that the
    cursor alone counts, and recognises what comes again by other means, such as a file in `Run.state_dir`. Runs named
    `conformance-*` stay in the tracker.

    Raises:
        AssertionError: a promise is not kept; the text says which.
    """
    _check_identity(factory, secrets)
    _check_construction(factory(), libraries)
    with tempfile.TemporaryDirectory() as state_dir:
        first, second = _run(state_dir), _run(state_dir)
        tracked = _check_open(factory, first, second)
        _check_delivery(factory, contents, first, tracked)
        _check_position(factory, first, remembers)
        _check_repetition(factory, contents, first, tracked)
        _check_close(factory, second)
        _check_probe(factory, contents, tracked, secrets)


def _check_identity(factory: Callable[[], Sink], secrets: Sequence[str]) -> None:
    sink, twin = factory(), factory()
    _require(bool(re.fullmatch(r"[\w.-]+", sink.name)), f"name {sink.name!r} cannot be part of a file name")
    _require(bool(sink.target), "target is empty")
    _require(sink.target == twin.target, f"two sinks for one tracker have targets {sink.target!r} and {twin.target!r}")
    shown = [secret for secret in secrets if secret in sink.target or secret in repr(sink)]
    _require(not shown, "target or repr shows credentials")
    _require(not re.search(r"://[^/\s]*@", sink.target), "target shows the user info of an address")
    texts = [*sink.process_env, *filter(None, sink.process_env.values())]
    _require(all(isinstance(text, str) for text in texts), "process_env is not text")


def _check_construction(sink: Sink, libraries: Sequence[str]) -> None:
    """In a fresh interpreter, where nothing hides what the sink's module imports; made too, if it needs no options."""
    kind = type(sink)
    script = (
        "import contextlib, importlib, sys\n"
        "kind = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])\n"
        "with contextlib.suppress(TypeError): kind()\n"
        "print(*sys.modules)"
    )
    if not libraries:
        return
    command = [sys.executable, "-c", script, kind.__module__, kind.__qualname__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _require(done.returncode == 0, f"a fresh interpreter cannot make a {kind.__qualname__}: {done.stderr[-300:]}")
    early = sorted(set(libraries) & set(done.stdout.split()))
    _require(not early, f"making a {kind.__qualname__} imports {', '.join(early)}: leave that to open")


def _check_open(factory: Callable[[], Sink], first: Run, second: Run) -> Tracked:
    sink = factory()
    tracked = sink.open(first)
    _require(bool(tracked.id), "open returned an empty id")
    _require(sink.open(first).id == tracked.id, "opening a run twice led to two tracked runs")
    _require(sink.open(second).id != tracked.id, "two runs share one tracked run")
    sink.close(None, CLOSE_S)
    _require(factory().open(first).id == tracked.id, "a new sink did not find the run again by its run_id")
    return tracked


def _check_delivery(
    factory: Callable[[], Sink], contents: Callable[[Tracked], object], run: Run, tracked: Tracked
) -> None:
    empty = contents(tracked)
    sink = factory()
    sink.open(run)
    for batch in _batches(run, 4):
        sink.deliver(batch)
    sink.close(None, CLOSE_S)
    _require(contents(tracked) != empty, "delivering a whole run changed nothing in the tracker")


def _check_position(factory: Callable[[], Sink], run: Run, remembers: bool) -> None:
    last = _batches(run, 4)[-1].position if remembers else None
    found = factory().open(run).position
    _require(found == last, f"the tracker remembers position {found}, not {last}: the cursor tag is missing or old")


def _check_repetition(
    factory: Callable[[], Sink], contents: Callable[[Tracked], object], run: Run, tracked: Tracked
) -> None:
    before = contents(tracked)
    for size in (1, 4, 1000):
        sink = factory()
        sink.open(run)
        for batch in _batches(run, size):
            sink.deliver(batch)
        sink.close(None, CLOSE_S)
        _require(contents(tracked) == before, f"delivering the same lines again, {size} at a time, changed the tracker")


def _check_close(factory: Callable[[], Sink], run: Run) -> None:
    _close(factory(), "a sink that was never opened")
    sink = factory()
    sink.open(run)
    _close(sink, "an open sink")
    _close(sink, "a sink that is closed already")


def _check_probe(
    factory: Callable[[], Sink], contents: Callable[[Tracked], object], tracked: Tracked, secrets: Sequence[str]
) -> None:
    """Of a sink that has one; the tracker works, so it must say so."""
    probe: Callable[[float], str] | None = getattr(factory(), "probe", None)
    if probe is None:
        return
    before, began = contents(tracked), time.monotonic()
    said = probe(PROBE_S)
    took = time.monotonic() - began
    _require(took <= PROBE_S + _SLACK_S, f"probe took {took:.1f} s of {PROBE_S:.0f} s")
    _require(bool(said.strip()) and len(said.splitlines()) == 1, f"probe says {said!r}, which is not one line")
    _require(not any(secret in said for secret in secrets), "probe shows credentials")
    _require(contents(tracked) == before, "probing changed the tracker")


def _close(sink: Sink, which: str) -> None:
    began = time.monotonic()
    try:
        sink.close(None, CLOSE_S)
    except Exception as error:
        raise AssertionError(f"Sink contract: closing {which} raised {type(error).__name__}: {error}") from error
    took = time.monotonic() - began
    _require(took <= CLOSE_S + _SLACK_S, f"closing {which} took {took:.1f} s of {CLOSE_S:.0f} s")


def _run(state_dir: str) -> Run:
    return Run(
        run_id=f"conformance-{uuid4().hex[:12]}",
        journal="/conformance/run.jsonl",
        started=samples.STARTED,
        state_dir=state_dir,
    )


def _batches(run: Run, size: int) -> list[Batch]:
    records = tuple(samples.records(samples.every_event(run.run_id)))
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    return [_batch(part, records[: part[0].line - 1]) for part in parts]


def _batch(records: tuple[Record, ...], before: tuple[Record, ...]) -> Batch:
    history = History()
    for record in before:
        history = history.after(record)
    return Batch(
        records=records,
        position=Position(records[-1].line, hashlib.blake2b(records[-1].raw).hexdigest()),
        alerts=history.alerts,
        advised=history.advised,
        verified=history.verified,
        nonfinite=history.nonfinite,
        ended=history.ended,
    )


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise AssertionError(f"Sink contract: {otherwise}")
