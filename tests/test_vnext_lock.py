"""A lock that lives as long as its process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradience.vnext import lock


@contextmanager
def held_elsewhere(path: Path) -> Iterator[int]:
    """The lock, held by another process; gives that one's pid."""
    program = (
        "import sys; from gradience.vnext import lock; lock.acquire(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_a_lock_is_held_once_in_a_process(tmp_path: Path) -> None:
    """POSIX locks would let the same process in again: the registry does not."""
    first = lock.acquire(tmp_path / "l")
    with pytest.raises(BlockingIOError):
        lock.acquire(tmp_path / "l")
    first.release()
    lock.acquire(tmp_path / "l").release()


def test_another_process_is_kept_out_and_named_until_it_dies(tmp_path: Path) -> None:
    """The holder is told by pid without taking the lock; a killed process holds nothing."""
    with held_elsewhere(tmp_path / "l") as pid:
        with pytest.raises(BlockingIOError):
            lock.acquire(tmp_path / "l")
        holder = lock.holder(tmp_path / "l")
        assert holder
        assert holder.pid == pid
    assert lock.holder(tmp_path / "l") is None
    lock.acquire(tmp_path / "l").release()


def test_asking_for_the_holder_does_not_lose_the_own_lock(tmp_path: Path) -> None:
    """Closing any descriptor of the file would: so a held file is never opened again."""
    mine = lock.acquire(tmp_path / "l")
    holder = lock.holder(tmp_path / "l")
    assert holder
    assert holder.pid == os.getpid()
    program = "import sys; from gradience.vnext import lock; print(lock.holder(sys.argv[1]).pid)"
    seen = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "l")], capture_output=True, check=True, text=True
    )
    assert int(seen.stdout) == os.getpid()
    mine.release()


def test_nobody_holds_a_lock_that_was_never_taken(tmp_path: Path) -> None:
    """Neither a missing file nor one left behind is a lock."""
    (tmp_path / "left").write_text("1 host\n")
    assert [lock.holder(tmp_path / name) for name in ("missing", "left")] == [None, None]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    """The child is kept out by its parent's lock, and its end does not free it."""
    mine = lock.acquire(tmp_path / "l")
    child = os.fork()
    if not child:
        try:
            lock.acquire(tmp_path / "l")
            os._exit(1)
        except BlockingIOError:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    mine.release()


def test_without_locks_acquire_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the platform has none, the caller decides."""
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.raises(OSError, match="not supported"):
        lock.acquire(tmp_path / "l")
    assert lock.holder(tmp_path / "l") is None
