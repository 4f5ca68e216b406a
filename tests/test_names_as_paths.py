"""Whatever a run, a sink, a journal or a reference is called, what is written lies where it belongs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.cli import journals
from gradience.mirror import travel
from gradience.mirror.cursor import CursorFile
from gradience.mirror.sink import Run
from gradience.references import cache
from gradience.testing.folder import FolderSink
from gradience.vnext import state

NASTY = (
    *("", ".", "..", "...", "../../etc/passwd", "/etc/passwd", "a/../../b", "a\x00b", "\x00", "~", "~root", "C:\\x"),
    *("\\\\h\\s", "a\nb", "..\\..\\x", "con", "nul.json", "x" * 300, "ü" * 300, "\u202eexe", "%2e%2e", "%2F", "..%2f"),
    *(".hidden", "-rf", " ", "\ud800", "run.lock", "recorder.lock", "a" * 200 + "/.."),
)
NAMES = st.text(max_size=300) | st.lists(st.sampled_from(["..", "/", ".", "a", "\\"])).map("".join)


def run_folder(place: Path, name: str) -> Path:
    """What a tracker in a folder makes of a run_id."""
    return place / FolderSink(root=str(place)).open(Run(run_id=name, journal="j", started=0.0)).id


def cursor(place: Path, name: str) -> Path:
    """The cursor of a sink of that name, and of a target."""
    store = CursorFile(place / "run.jsonl", name, name, place)
    assert store.path.parent == store.lock.parent == store.dead_letters.parent
    store.lock.touch()
    store.dead_letters.touch()
    store.path.touch()
    return store.path


def uploaded(place: Path, name: str) -> Path:
    """The journal's name on a tracked run."""
    return place / travel.name(Path("runs") / _file(name))


def fetched(_place: Path, name: str) -> Path:
    """Where a fetched adapter of that name is kept."""
    return cache.place("scheme", [name], name)


def landed(place: Path, name: str) -> Path:
    """The journal of an audit of an adapter that was fetched from an address."""
    return place / journals.apart(f"scheme:{name}").path


def kept(place: Path, name: str) -> Path:
    """The state folder of a journal of that name in a directory of states."""
    return state.folder(place / _file(name), place)


def _file(name: str) -> str:
    """A name that a file can have."""
    return name.replace("/", "_").replace("\x00", "_").encode("utf-8", "replace").decode()[:120] or "_"


@pytest.mark.parametrize("made", [run_folder, cursor, uploaded, fetched, landed, kept])
def test_no_name_leads_out_of_its_folder(
    made: Callable[[Path, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not upwards, not to an absolute path, not through a NUL; and every disk takes what comes out."""
    place = tmp_path / "in" / "side"
    place.mkdir(parents=True)
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", str(place))

    def look(name: str) -> None:
        found = made(place, name)
        assert place in found.parents
        assert found.resolve() == place.resolve() / found.relative_to(place)
        assert max(len(os.fsencode(part)) for part in found.parts) <= 255
        found.exists()  # raises for a name that no disk takes

    for name in NASTY:
        look(name)
    settings(max_examples=30, deadline=None)(given(NAMES)(look))()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in place.parent.iterdir()] == ["side"]


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    """However alike their names are."""
    names = [name for name in NASTY if name]
    assert len({run_folder(tmp_path, name) for name in names}) == len(names)
