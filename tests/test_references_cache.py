import os
import time
from pathlib import Path

import pytest

from gradience.references import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gradience" / "references"


def test_a_folder_appears_whole_or_not_at_all(home: Path) -> None:
    """A download that fails leaves nothing behind."""

    def download() -> None:
        with cache.staging() as staged:
            (staged / "half").write_text("x")
            raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        download()
    assert list(home.iterdir()) == []


def test_what_is_settled_stays_under_its_name(home: Path) -> None:
    """The last part is the adapter's own, so that a checkpoint still tells its step."""
    final = cache.place("s3", ["identity"], "checkpoint-500")
    with cache.staging() as staged:
        (staged / "a").write_text("x")
        assert cache.settle(staged, final) == final
    assert (final.name, (final / "a").read_text()) == ("checkpoint-500", "x")
    assert [path.name for path in home.iterdir()] == ["s3"]


def test_whoever_settles_first_is_kept() -> None:
    """Two processes that fetch the same do not disturb each other's readers."""
    final = cache.place("s3", ["identity"], "a")
    for content in ("first", "second"):
        with cache.staging() as staged:
            (staged / "a").write_text(content)
            cache.settle(staged, final)
    assert (final / "a").read_text() == "first"


def test_what_somebody_tidied_away_is_put_back() -> None:
    """A folder without one of its files is not what its name says; the files that are there stay."""
    final = cache.place("s3", ["identity"], "a")
    final.mkdir(parents=True)
    (final / "one").write_text("there")
    assert (cache.holds(final, ["one"]), cache.holds(final, ["one", "sub/two"])) == (True, False)
    with cache.staging() as staged:
        (staged / "sub").mkdir()
        for name in ("one", "sub/two"):
            (staged / name).write_text("new")
        cache.settle(staged, final)
    assert [(final / name).read_text() for name in ("one", "sub/two")] == ["there", "new"]


def test_another_identity_is_another_place() -> None:
    """Parts do not run into each other."""
    assert cache.place("s3", ["ab", "c"], "x") != cache.place("s3", ["a", "bc"], "x")


@pytest.mark.parametrize("name", ["..", "../../etc", "", "a/b", "\0"])
def test_a_name_leads_nowhere_else(home: Path, name: str) -> None:
    """It comes from a server."""
    assert cache.place("s3", ["x"], name).parent.parent == home / "s3"
    assert ".." not in cache.place("s3", ["x"], name).parts


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    """Equal folders have equal digests, wherever they are."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, content in zip(folders, ("x", "x", "y"), strict=True):
        folder.mkdir()
        (folder / "a").write_text(content)
    digests = [cache.digest(folder) for folder in folders]
    assert digests[0] == digests[1] != digests[2]


def test_what_a_killed_download_left_is_swept(home: Path) -> None:
    """After a day; a younger one may be at work."""
    for age_s, name in ((90_000, ".staging-old"), (60, ".staging-young")):
        (home / name).mkdir(parents=True)
        os.utime(home / name, (time.time() - age_s,) * 2)
    with cache.staging():
        pass
    assert [path.name for path in home.iterdir()] == [".staging-young"]
