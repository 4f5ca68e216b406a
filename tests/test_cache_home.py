"""Where what can be made again is kept."""

from pathlib import Path

import pytest

from gradience import cache_home


def test_the_variable_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`GRADIENCE_CACHE_DIR` wins, and is made absolute: a worker may have another working directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/else")
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", "here")
    monkeypatch.chdir(tmp_path)
    assert cache_home.folder() == tmp_path / "here"


def test_else_it_is_in_the_xdg_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the XDG base directory specification asks; `~/.cache` where it is not set."""
    monkeypatch.delenv("GRADIENCE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home.folder() == tmp_path / "xdg" / "gradience"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home.folder() == tmp_path / ".cache" / "gradience"


def test_what_is_kept_is_there_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A write that fails leaves the old file, and nothing beside it."""
    file = tmp_path / "new" / "kept"
    cache_home.keep(file, b"old")

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError):  # noqa: PT011 - whichever it is
        cache_home.keep(file, b"new")
    assert (file.read_bytes(), list(file.parent.iterdir())) == (b"old", [file])
