"""Processes as the system sees them, through /proc."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def naming(text: str) -> list[int]:
    """The living processes, other than this one, whose command line contains a text."""
    wanted = os.fsencode(text)
    return [pid for pid in _pids() if pid != os.getpid() and wanted in _command(pid) and is_running(pid)]


def inherits(pid: int, text: str) -> bool:
    """Whether a process was started with a text in its environment."""
    return os.fsencode(text) in _read(pid, "environ")


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] != b"Z"


def resident_kib(pid: int) -> int:
    """The memory that a process has in RAM; 0 when it is gone."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def end(pids: list[int]) -> None:
    """Kill processes that have not gone by themselves."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _command(pid: int) -> bytes:
    return _read(pid, "cmdline")


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
