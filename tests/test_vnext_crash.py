"""A recorder that is killed loses nothing that it had written."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradience.vnext.telemetry_reader import TelemetryReader

RECORDER = """
import sys
from gradience.vnext.telemetry import TelemetryWriter
with TelemetryWriter(sys.argv[1]) as tw:
    tw.run_start({"model_name": "m"})
    sys.stdout.write(f"{tw.run_id} started\\n")
    sys.stdout.flush()
    step = int(sys.argv[2])
    while True:
        step += 1
        tw.train_step(step, loss=1.0, note="x" * 200)
        if step % 50 == 0:
            tw.metrics(step, kind="spectral", metrics={"column": list(range(5000))})
            sys.stdout.write(f"{step}\\n")
            sys.stdout.flush()
"""


def record_and_kill(path: Path, first_step: int, after_s: float) -> tuple[str, int]:
    """Start a recorder, kill it after a while; the run_id, and the last step it was known to have written."""
    command = [sys.executable, "-c", RECORDER, str(path), str(first_step)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        run_id = process.stdout.readline().split()[0]
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().splitlines(keepends=True)
    told = [int(line) for line in said if line.endswith("\n")]
    return run_id, told[-1] if told else first_step


@pytest.mark.slow
def test_ten_kills_lose_no_line_and_keep_one_run(tmp_path: Path) -> None:
    """After each kill every completed line is readable, and the next recorder goes on under the same run_id."""
    path = tmp_path / "run.jsonl"
    chance = random.Random(0)
    run_ids, last = set(), 0
    for _ in range(10):
        run_id, known = record_and_kill(path, last, chance.uniform(0, 0.3))
        run_ids.add(run_id)
        steps = [record.event.step for record in TelemetryReader(path).iter_events("train_step")]
        last = max((step for step in steps if step is not None), default=0)
        assert steps == list(range(1, last + 1))
        assert last >= known
    reader = TelemetryReader(path)
    torn = [issue for issue in reader.issues if "newline" not in issue.message and "not JSON" not in issue.message]
    assert len(run_ids) == 1
    assert torn == []
    assert len(reader.issues) <= 10
    assert (reader.summarize().starts, reader.summarize().ended, reader.summarize().last_step) == (10, False, last)
