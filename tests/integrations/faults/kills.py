"""Processes killed at random instants, over and over, under a run that goes on."""

import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gradience.mirror.live.spec import Terms
from tests.integrations.faults import recording, seen
from tests.integrations.faults.recording import Recording, until
from tests.integrations.faults.trainer import Steps

COUNT: Final = int(os.environ.get("KILLS", "6"))  # of each kind, of processes that take seconds to be back
BRISK: Final = Terms(poll_s=0.05, grace_s=0.2, linger_s=60.0, leave_s=20.0, call_s=60.0)
PAUSE_S: Final = 0.002  # between two steps


def recorders(
    folder: Path,
    sink: Mapping[str, Any],
    kills: int,
    seed: int,
    latest_s: float,
    *,
    pause_s: float = PAUSE_S,
    env: Mapping[str, str] | None = None,
) -> Recording:
    """Kill a recorder up to `latest_s` after its first line; the next one resumes the run. The last of them."""
    chance = random.Random(seed)
    first, longest_s = 1, 0.0
    for _ in range(kills):
        run = Recording(folder, sink, env=env, terms=BRISK, first=first, brisk=True)
        try:
            run.hear()
            run.record(20)
            run.say(Steps(1_000_000, pause_s))
            time.sleep(chance.uniform(0, latest_s))
            os.killpg(run.process.pid, signal.SIGKILL)
        finally:
            run.let_go()
        first = max(event.step or 0 for event in seen.appended(run.path)) + 1
        longest_s = max(longest_s, run.longest_s)
    run.longest_s = longest_s
    run.see_off()
    return run


def sidecars(
    folder: Path,
    sink: Mapping[str, Any],
    kills: int,
    seed: int,
    latest_s: float,
    *,
    pause_s: float = PAUSE_S,
    env: Mapping[str, str] | None = None,
) -> Recording:
    """Kill the side-car of a recorder up to `latest_s` after its start, or not yet at work; then end in order."""
    chance = random.Random(seed)
    with recording.recording(folder, sink, env=env, terms=BRISK, close_timeout_s=60.0, brisk=True) as run:
        for _ in range(kills):
            until(lambda: bool(run.sidecars()))
            run.say(Steps(int(latest_s / pause_s), pause_s))
            time.sleep(chance.uniform(0, latest_s))
            for pid in run.sidecars():
                os.kill(pid, signal.SIGKILL)
            run.recorded()
        run.close()
        run.see_off()
        return run
