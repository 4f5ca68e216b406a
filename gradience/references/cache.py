"""Where fetched adapters are kept: `references` in the cache folder. It may be deleted at any time.

A folder appears under its final name whole or not at all, and is never changed then: its name is made of what its
contents are made of.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gradience import cache_home

_STAGING: Final = ".staging-"
_STALE_S: Final = 86_400.0  # a download that was killed left its staging folder behind
_BLOCK: Final = 1 << 20


def place(scheme: str, identity: Iterable[str], name: str) -> Path:
    """The folder, called `name`, for what `identity` describes to the last byte; it may not be there yet."""
    mark = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return _home() / scheme / mark / (_plain(name) or "adapter")


@contextmanager
def staging() -> Iterator[Path]:
    """A new empty folder to download into; what is not settled is removed."""
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    _sweep(home)
    folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(staged: Path, final: Path) -> Path:
    """Give a downloaded folder its final name; what is there already, of somebody who was faster, stays."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        _mend(staged, final)
    return final


def holds(folder: Path, paths: Iterable[str]) -> bool:
    """Whether a folder has all these files: whoever tidies up caches may have taken some."""
    return all((folder / path).is_file() for path in paths)


def digest(folder: Path) -> str:
    """What the files of a folder are, for contents that no version tells."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    whole.update(block)
    return whole.hexdigest()


def _home() -> Path:
    return cache_home.folder() / "references"


def _plain(name: str) -> str:
    """A name that says what is in the folder (`checkpoint-500` is read as a step) and can do nothing else."""
    kept = "".join(char if char.isalnum() or char in "-_." else "_" for char in name[:80])
    return kept.strip(".")


def _mend(staged: Path, final: Path) -> None:
    for path in [path for path in staged.rglob("*") if path.is_file()]:
        target = final / path.relative_to(staged)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _sweep(home: Path) -> None:
    for left in home.glob(f"{_STAGING}*"):
        with suppress(OSError):  # another process may be sweeping too
            if left.stat().st_mtime < time.time() - _STALE_S:
                shutil.rmtree(left, ignore_errors=True)
