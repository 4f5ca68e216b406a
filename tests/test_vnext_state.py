"""Where the state of a telemetry file is kept."""

import os
from pathlib import Path

import pytest

from gradience.errors import TelemetryError
from gradience.vnext import state


def test_state_stands_beside_the_file(tmp_path: Path) -> None:
    """Under the file's own name, for every name of the file."""
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "run.jsonl")
    folders = {state.folder(tmp_path / name) for name in ("run.jsonl", "link.jsonl", "x/../run.jsonl")}
    assert folders == {tmp_path.resolve() / "run.jsonl.gradience"}


def test_a_given_directory_keeps_the_states_of_several_files_apart(tmp_path: Path) -> None:
    """Two files of one name do not share locks and cursors."""
    one, other = (state.folder(tmp_path / name / "run.jsonl", tmp_path / "state") for name in "ab")
    assert one.parent == other.parent == tmp_path / "state"
    assert one != other


def test_beside_a_read_only_folder_the_state_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME, else ~/.local/state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "run.jsonl.gradience").write_text("a file is in the way, as root writes everywhere")
    assert state.folder(tmp_path / "run.jsonl").parent == tmp_path / "xdg" / "gradience"
    assert state.folder(os.devnull).parent == tmp_path / "xdg" / "gradience"


def test_nowhere_to_write_is_an_error(tmp_path: Path) -> None:
    """The message names what was tried."""
    (tmp_path / "file").touch()
    with pytest.raises(TelemetryError, match=r"no folder can be written at .*file"):
        state.folder(tmp_path / "run.jsonl", tmp_path / "file")
