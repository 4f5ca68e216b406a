"""Recordings mirrored into W&B that go through trouble, and what becomes of them."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tests.integrations import wandb_files
from tests.integrations.faults import processes, seen, terminal
from tests.integrations.faults.recording import until
from tests.integrations.faults.wandb_stage import GONE_S, HEALTHY, SINK, Stage, Told, begun
from tests.integrations.wandb_double import faults
from tests.integrations.wandb_double.faults import Fault
from tests.integrations.wandb_double.server import KEY

DURING: Final = 600
FEW: Final = 6  # each of them may be tried alone
POISON: Final = 4  # the line
OUTAGE_S: Final = 5.0  # after a first attempt has met the fault
WRITES: Final = ("UpsertBucket", "file_stream", "CreateRunFiles", "NotifyScriptableRunAlert")


Story = Callable[[Path], Told]


def outage(name: str, operations: tuple[str, ...], fault: Fault, folder: Path) -> Told:
    """The service does not answer as it should; when it does again, nobody needs to lift a finger."""
    with begun(folder) as stage:
        healthy_kib = stage.healthy()
        for operation in operations:
            stage.service.faults.set(fault, operation)
        stage.run.record(DURING, 0.0005)
        until(lambda: stage.service.faults.hits.total() > 0)
        stage.run.stay(OUTAGE_S)
        close = stage.run.close()
        stage.service.faults.clear()
        return stage.told(name, close.longest_s, healthy_kib)


def down(folder: Path) -> Told:
    """Nobody listens when the run begins; it is up when the recording has ended."""
    with begun(folder, down=True) as stage:
        stage.run.record(DURING, 0.0005)
        stage.run.stay(OUTAGE_S)
        close = stage.run.close()
        stage.service.listen()
        return stage.told("down at init", close.longest_s)


def death(folder: Path) -> Told:
    """It dies while a run is recorded, and comes back at its address."""
    with begun(folder) as stage:
        healthy_kib = stage.healthy()
        stage.service.refuse()
        stage.run.record(DURING, 0.0005)
        stage.run.stay(OUTAGE_S)
        close = stage.run.close()
        stage.service.listen()
        return stage.told("dies midway", close.longest_s, healthy_kib)


def creation(folder: Path) -> Told:
    """The run is created and written to, and each answer about that gets lost."""
    with begun(folder) as stage:
        for operation in WRITES:
            stage.service.faults.set(faults.LOST, operation)
        stage.run.record(DURING, 0.0005)
        until(lambda: stage.service.faults.hits.total() > 1)
        stage.run.stay(OUTAGE_S)
        stage.service.faults.clear()
        close = stage.run.close()
        return stage.told("answers lost from the creation on", close.longest_s)


def refusal(code: int, operation: str, folder: Path) -> Told:
    """Everything is refused, or every row; then a person mends that."""
    with begun(folder) as stage:
        stage.healthy()
        stage.service.faults.set(faults.status(code), operation)
        close_s = _go_on(stage)
        stage.service.faults.clear()
        return stage.told(f"{code} to {'everything' if operation == faults.EVERY else 'rows'}", close_s)


def poison(code: int, folder: Path) -> Told:
    """One row is refused whenever it comes, and with it what comes along."""
    with begun(folder, close_timeout_s=90.0) as stage:
        stage.service.faults.set(faults.poison(code, POISON), "file_stream")
        stage.run.record(FEW)
        close = stage.run.close()
        return stage.told(f"{code} to one row", close.longest_s)


def deletion(folder: Path) -> Told:
    """Somebody deletes the run, and restores it later."""
    with begun(folder) as stage:
        stage.healthy()
        stage.service.delete(stage.run.run_id)
        close_s = _go_on(stage)
        stage.service.restore(stage.run.run_id)
        return stage.told("run deleted (409)", close_s)


def core_dies(folder: Path) -> Told:
    """wandb-core is killed, as the kernel does for want of memory."""
    return _struck("wandb-core killed", signal.SIGKILL, folder)


def core_stops(folder: Path) -> Told:
    """wandb-core is stopped: it answers nothing, and takes no signal but the last."""
    return _struck("wandb-core stopped", signal.SIGSTOP, folder)


def no_key(folder: Path) -> Told:
    """Nobody is logged in, and whoever calls `sync` sits at a terminal; then somebody sets the key."""
    with begun(folder, env={"WANDB_API_KEY": None}) as stage:
        close_s = _go_on(stage)
        asked = terminal.run([*stage.run.sync_command(), "--deadline", "20"], stage.env_without_key, 60.0)
        assert asked.code != 0
        assert "wandb login" in asked.text, asked.text
        return stage.told("no API key, at a terminal", close_s, env={"WANDB_API_KEY": KEY})


def sweep(folder: Path) -> Told:
    """The training is a sweep's, and its environment names a run, a group and tags of W&B's own."""
    theirs = {
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_SWEEP_PARAM_PATH": str(folder / "sweep.yaml"),
        "WANDB_RUN_ID": "theirs",
        "WANDB_RESUME": "must",
        "WANDB_NAME": "theirs",
        "WANDB_TAGS": "theirs",
    }
    with begun(folder, env=theirs, close_timeout_s=60.0) as stage:
        stage.healthy()
        close = stage.run.close()
        told = stage.told("a sweep's environment", close.longest_s)
        run = stage.held
        assert (run.id, run.project, run.sweep) == (stage.run.run_id, SINK["project"], None)
        assert "theirs" not in run.tags
        return told


def offline(folder: Path) -> Told:
    """The run is kept in a folder, because there is no network; at home it is brought to the service."""
    with begun(folder, env={"WANDB_MODE": "offline"}, down=True, close_timeout_s=60.0) as stage:
        stage.run.record(DURING, 0.0005)
        close = stage.run.close()
        assert stage.run.delivered == stage.run.lines()
        kept = wandb_files.read(stage.home).rows
        assert {line: len(rows) for line, rows in kept.items()} == dict.fromkeys(range(1, stage.run.lines() + 1), 1)
        stage.service.listen()
        done = stage.run.sync(env={"WANDB_MODE": "online"})
        assert done.returncode == 0, done.stderr
        return stage.told("offline, then online", close.longest_s)


def two_sinks(folder: Path) -> Told:
    """First W&B is out, then the other one; each is up to date while the other is behind."""
    root = folder.with_name(f"{folder.name}-tracker")
    root.mkdir()
    beside = {"type": "gradience.testing.folder:FolderSink", "root": str(root)}
    with begun(folder, beside=beside, close_timeout_s=60.0) as stage:
        stage.run.record(HEALTHY)
        until(lambda: stage.lines_of("wandb") == stage.lines_of("folder") == HEALTHY + 1)
        stage.service.refuse()
        stage.run.record(DURING, 0.0005)
        until(lambda: stage.lines_of("folder") == stage.run.lines())
        assert stage.lines_of("wandb") < stage.run.lines()
        (root / "fault").write_text("refused")
        stage.service.listen()
        stage.run.record(DURING, 0.0005)
        until(lambda: stage.lines_of("wandb") == stage.run.lines())
        assert stage.lines_of("folder") < stage.run.lines()
        (root / "fault").unlink()
        close = stage.run.close()
        told = stage.told("two sinks, one out at a time", close.longest_s)
        other = seen.in_folder(stage.run.path, root, stage.run.run_id)
        assert (other.lost, other.duplicates) == (0, 0)
        return told


def orphaned(folder: Path) -> Told:
    """The service is out, and its side-car is killed meanwhile: its wandb-core has nobody left to ask it to go."""
    with begun(folder) as stage:
        stage.healthy()
        stage.service.faults.set(faults.HANG)
        stage.run.record(DURING, 0.0005)
        until(lambda: stage.service.faults.hits.total() > 0)
        cores = stage.cores()
        processes.end(stage.run.sidecars())
        until(lambda: not any(map(processes.is_running, cores)), GONE_S, must=False)
        left = [pid for pid in cores if processes.is_running(pid)]
        stage.service.faults.clear()
        until(lambda: stage.run.delivered == stage.run.lines())
        close = stage.run.close()
        told = stage.told("side-car killed in an outage", close.longest_s)
        return msgspec.structs.replace(told, orphans=[*left, *told.orphans])


OUTAGES: Final[dict[str, Story]] = {
    "down": down,
    "death": death,
    "hang": partial(outage, "hangs", (faults.EVERY,), faults.HANG),
    "500": partial(outage, "500", (faults.EVERY,), faults.status(500)),
    "429": partial(outage, "429, Retry-After 3600", (faults.EVERY,), faults.status(429, retry_after_s=3600)),
    "409": partial(outage, "409 to rows", ("file_stream",), faults.status(409)),
    "lost": partial(outage, "answer lost", WRITES, faults.LOST),
}
PARKED: Final[dict[str, Story]] = {
    **{str(code): partial(refusal, code, faults.EVERY) for code in (401, 403)},
    "404": partial(refusal, 404, "file_stream"),
    "deletion": deletion,
    "no key": no_key,
}
MENDED: Final[dict[str, Story]] = {
    "creation": creation,
    "core dies": core_dies,
    "core stops": core_stops,
    "sweep": sweep,
    "offline": offline,
    "two sinks": two_sinks,
    "orphaned": orphaned,
}
POISONED: Final[dict[str, Story]] = {str(code): partial(poison, code) for code in (400, 413)}
STORIES: Final[dict[str, Story]] = {**POISONED, **MENDED, **OUTAGES, **PARKED}  # the longest first


def _go_on(stage: Stage) -> float:
    """Record on until delivery has stopped for good; how long it took to close."""
    stage.run.record(DURING, 0.0005)
    until(lambda: "until this is mended" in stage.run.said)
    return stage.run.close().longest_s


def _struck(name: str, blow: signal.Signals, folder: Path) -> Told:
    with begun(folder, close_timeout_s=60.0) as stage:
        stage.healthy()
        for pid in stage.cores():
            os.kill(pid, blow)
        stage.run.record(DURING, 0.0005)
        close = stage.run.close()
        return stage.told(name, close.longest_s)
