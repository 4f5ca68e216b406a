"""A recording that is mirrored into W&B, with a service and a wandb of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.integrations.faults import processes, recording, seen, stories
from tests.integrations.faults.recording import Recording, until
from tests.integrations.wandb_double import server
from tests.integrations.wandb_double.held import TrackedRun
from tests.integrations.wandb_double.server import Server

SINK: Final = {"type": "gradience_wandb:WandbSink", "project": "sft"}
TERMS: Final = msgspec.structs.replace(recording.TERMS, call_s=30.0)
HEALTHY: Final = 300  # steps
GONE_S: Final = 10.0  # for a wandb-core whose side-car has gone


class Told(stories.Told, frozen=True, kw_only=True):
    """What became of a recording, and of W&B: the states of its run, how many runs there are, and who is left."""

    states: list[str]
    runs: int
    orphans: list[int]


class Stage(msgspec.Struct, frozen=True):
    """A recording under way, and the service that it is mirrored to."""

    run: Recording
    service: Server
    home: Path

    def cores(self) -> list[int]:
        """The processes of wandb-core that belong to it."""
        return cores(self.home)

    def healthy(self) -> int:
        """Record until memory has seen a delivery; its size."""
        self.run.record(HEALTHY)
        until(lambda: self.run.delivered == HEALTHY + 1)
        return self.run.memory_kib()

    def lines_of(self, sink: str) -> int:
        """How many lines one of its sinks has passed."""
        return cursor.line if (cursor := self.run.cursor_of(sink)) else 0

    @property
    def held(self) -> TrackedRun:
        """Its run, as the service holds it."""
        return self.service.runs[self.run.run_id]

    @property
    def env_without_key(self) -> dict[str, str]:
        """The environment of the same person's, who is not logged in."""
        return {key: value for key, value in self.service.env(self.home).items() if key != "WANDB_API_KEY"}

    def told(
        self, fault: str, close_s: float, healthy_kib: int | None = None, env: Mapping[str, str] | None = None
    ) -> Told:
        """What became of it, once nothing works on it any more; what is left is brought by hand."""
        run = self.run
        run.see_off()
        behind = run.lines() - run.delivered
        synced = run.sync(env=env).returncode if behind else 0
        until(lambda: not self.cores(), GONE_S, must=False)
        orphans = self.cores()
        held = list(self.service.runs.values())
        account = seen.in_wandb(run.path, run.state, held[0].rows)
        grown = None if healthy_kib is None else run.peak_kib - healthy_kib
        remarks = f"{behind} left to `sync`" if behind else ""
        row = run.told(fault, account, close_s=close_s, grown_kib=grown, remarks=remarks)
        states = [held[0].state] if held else []
        said = run.said
        return Told(row=row, said=said, behind=behind, synced=synced, states=states, runs=len(held), orphans=orphans)


@contextmanager
def begun(
    folder: Path, *, down: bool = False, env: Mapping[str, str | None] | None = None, **order: Any
) -> Iterator[Stage]:
    """A recording that has begun; with a service that is down, or not."""
    home = folder.with_name(f"{folder.name}-home")
    home.mkdir()
    with server.serving() as service:
        if down:
            service.refuse()
        given = {"terms": TERMS, "helpers": lambda: cores(home), **order}
        with recording.recording(folder, SINK, env={**service.env(home), **(env or {})}, **given) as run:
            stage = Stage(run, service, home)
            try:
                yield stage
            finally:
                processes.end(stage.cores())


def cores(home: Path) -> list[int]:
    """The processes of wandb-core that were started with this HOME."""
    return [pid for pid in processes.naming("wandb-core") if processes.inherits(pid, f"HOME={home}\0")]
