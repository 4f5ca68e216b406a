"""File systems that misbehave: small ones, ones that cannot be written, ones without locks; and clocks."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_BALLAST: Final = "ballast"
# Runs in every interpreter that finds it on PYTHONPATH: the trainer's and its side-cars'.
NO_LOCKS: Final = """
import errno, fcntl

def _refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.lockf = fcntl.flock = fcntl.fcntl = _refuse
"""
BACKWARDS: Final = """
import time

_began, _real = time.time(), time.time

time.time = lambda: 2 * _began - _real() - 3600.0
"""


@contextlib.contextmanager
def small(folder: Path, size_kib: int = 2048) -> Iterator[Path]:
    """A file system of its own at a folder; the test is skipped where that takes more rights than we have."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def read_only_around(file: Path) -> Iterator[None]:
    """The file's folder takes no new file, while the file itself can still be written."""
    _mount("--bind", str(file), str(file))
    try:
        _mount("-o", "remount,bind,ro", str(file.parent))  # of this place alone: the file's own mount stays as it is
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(file)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with contextlib.suppress(OSError), (folder / _BALLAST).open("wb", buffering=0) as ballast:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while ballast.write(bytes(size)):
                    pass


def drain(folder: Path) -> None:
    """Make room again."""
    (folder / _BALLAST).unlink()


def custom(folder: Path, code: str) -> dict[str, str]:
    """The environment in which every interpreter runs this code first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount file systems: {done.stderr.strip()}")
