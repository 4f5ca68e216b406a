import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradience.mirror.live.presence import Presence, look
from gradience.vnext import lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
HOLD = (
    "import sys; from gradience.vnext import lock\n"
    "held = lock.acquire(sys.argv[1]); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "recorder.lock"


@pytest.fixture
def other(place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_recorder_that_holds_its_lock_is_at_work(place: Path, other: "subprocess.Popen[bytes]") -> None:
    """Whatever else it does."""
    assert look(place, other.pid) is Presence.AT_WORK


def test_a_killed_recorder_is_gone(place: Path, other: "subprocess.Popen[bytes]") -> None:
    """The system gives its lock up."""
    other.kill()
    other.wait()
    assert look(place, other.pid) is Presence.GONE


def test_another_recorder_replaces_ours(place: Path, other: "subprocess.Popen[bytes]") -> None:
    """The lock is held, but not by the one that was meant."""
    assert look(place, os.getppid()) is Presence.REPLACED
    assert other.poll() is None


def test_a_recorder_in_this_process_counts_as_well(place: Path) -> None:
    """A thread of the recorder's own process sees it come and go."""
    held = lock.acquire(place)
    assert look(place, os.getpid()) is Presence.AT_WORK
    held.release()
    assert look(place, os.getpid()) is Presence.GONE


@pytest.mark.parametrize("is_made", [True, False])
def test_without_locks_a_recorder_lives_as_long_as_its_process(place: Path, is_made: bool) -> None:
    """Nobody signed the lock file, or it was deleted: a parent that is still ours is at work."""
    if is_made:
        place.touch()
    assert look(place, os.getppid()) is Presence.AT_WORK
    assert look(place, 2**22 + 1) is Presence.GONE
