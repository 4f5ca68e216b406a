"""A lock file that lives as long as its process: POSIX `lockf`, which forked children do not inherit.

Closing any descriptor of a locked file gives the lock up, whoever opened it. So a file that this process holds is
never opened again: the registry below answers for it.
"""

import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

try:
    import fcntl
except ImportError:  # Windows: locking is reported as unsupported
    fcntl = None  # type: ignore[assignment]

# `struct flock` as the platform lays it out: the format, and where l_type and l_pid stand in it.
_FLOCK: Final = {"linux": ("@hhqqi4x", 0, 4), "darwin": ("@qqihh", 3, 2)}

_held: dict[Path, "Lock"] = {}
_guard = threading.Lock()


class Holder(msgspec.Struct, frozen=True):
    """The process that holds a lock; its pid is 0 where the platform does not tell."""

    pid: int
    host: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid}" + (f" on {self.host}" if self.host else "")


class Lock:
    """A lock that is held; made by `acquire`, given up by `release` or by the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def is_in_place(self) -> bool:
        """Whether the file of that name is still the locked one: whoever deletes it lets others lock another."""
        with _guard:
            try:
                return _held.get(self.path) is self and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
            except OSError:
                return False

    def release(self) -> None:
        """Give the lock up; may be called again."""
        with _guard:
            if _held.get(self.path) is self:
                del _held[self.path]
                os.close(self._descriptor)


def acquire(path: str | Path) -> Lock:
    """Take the lock on a file, which is made if it is missing. Never waits.

    Raises:
        BlockingIOError: It is held, by another process or by another part of this one.
        OSError: The file cannot be opened, or locks do not work here (some network file systems, Windows).
    """
    if fcntl is None:
        raise OSError("file locks are not supported on this platform")
    place = Path(path).resolve()
    with _guard:
        if place in _held:
            raise BlockingIOError(f"{place} is locked by this process")
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise _as_blocking(error, place) from error
        _sign(descriptor)
        _held[place] = Lock(place, descriptor)
        return _held[place]


def holder(path: str | Path) -> Holder | None:
    """Who holds the lock, without taking it; None if nobody does or if locks do not work here."""
    place = Path(path).resolve()
    with _guard:
        if place in _held:
            return Holder(os.getpid(), socket.gethostname())
        if fcntl is None:
            return None
        try:
            descriptor = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            pid = _probe(descriptor)
            return None if pid is None else Holder(pid, _signature(descriptor))
        finally:
            os.close(descriptor)


def _probe(descriptor: int) -> int | None:
    """The pid of the process that holds the file's lock."""
    layout = _FLOCK.get(sys.platform)
    try:
        if layout is None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given up when the caller closes the file
            return None
        form, kind, pid = layout
        asked = [0] * 5
        asked[kind] = fcntl.F_WRLCK
        answer = struct.unpack(form, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(form, *asked)))
        return None if answer[kind] == fcntl.F_UNLCK else answer[pid]
    except BlockingIOError:
        return 0
    except OSError:
        return None


def _sign(descriptor: int) -> None:
    """Leave pid and host in the file for messages: a lock over the network names a pid of another machine."""
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
    except OSError:
        return  # a full disk does not make the lock less of a lock


def _signature(descriptor: int) -> str | None:
    words = os.read(descriptor, 300).decode("utf-8", "replace").split()
    return words[1] if len(words) == 2 else None


def _as_blocking(error: OSError, place: Path) -> OSError:
    """EACCES and EAGAIN both mean held; Python calls only the latter blocking."""
    held = isinstance(error, (BlockingIOError, PermissionError))
    return BlockingIOError(f"{place} is locked by another process") if held else error


def _forget() -> None:
    """A forked child holds none of its parent's locks."""
    global _guard
    _guard = threading.Lock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
