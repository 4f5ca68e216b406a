"""Tests of `gradience.vnext.private`: what may tell of addresses is its owner's alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradience.vnext import private, state


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_a_new_file_is_its_owner_s(tmp_path: Path) -> None:
    """Whatever the umask, and whatever it is opened for."""
    for mode in ("wb", "ab", "a+b"):
        with private.open(tmp_path / mode, mode):
            assert (tmp_path / mode).stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """An earlier version made it; what stands in it stays."""
    path = tmp_path / "old"
    path.write_bytes(b"old\n")
    path.chmod(0o666)
    with private.open(path, "ab") as file:
        file.write(b"new\n")
    assert (path.stat().st_mode & 0o777, path.read_bytes()) == (0o600, b"old\nnew\n")


def test_a_state_folder_is_its_owner_s(tmp_path: Path) -> None:
    """The folders above it are as the umask has it; one that is there keeps its mode."""
    folder = state.folder(tmp_path / "deep" / "run.jsonl")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o700 == 0o700
    folder.chmod(0o770)
    assert state.folder(tmp_path / "deep" / "run.jsonl").stat().st_mode & 0o777 == 0o770
