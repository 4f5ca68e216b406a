"""The example of a third party's sink: installed as its own distribution, found by its entry point, at work."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gradience.testing import samples

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "trackio_sink"

pytestmark = pytest.mark.slow
Command = Callable[..., str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's distribution in it, built and installed without a network."""
    for needed in ("trackio", "hatchling"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([*pip, *offline, str(EXAMPLE)], check=True, capture_output=True)
    return folder


@pytest.fixture
def python(site: Path, tmp_path: Path) -> Command:
    """A function that runs a module where that distribution is installed, and gives its stdout."""
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "integrations")])
    env = {**os.environ, "PYTHONPATH": path, "TRACKIO_DIR": str(tmp_path / "store")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_it_is_found_by_its_entry_point_and_delivers(python: Command, tmp_path: Path) -> None:
    """Nothing in Gradience names it: the list has it, and a journal arrives through it, line by line."""
    listed = python("gradience", "sinks", "list")
    assert [line.split()[:3] for line in listed.splitlines() if line.startswith("trackio")] == [
        ["trackio", "gradience-trackio", "0.1.0"]
    ]
    journal = samples.write(tmp_path / "run.jsonl", samples.every_event("r"))
    said = python("gradience", "sync", str(journal), "--to", "trackio", "--project", "p")
    assert "9 sent, 0 rejected, up to date" in said
    with closing(sqlite3.connect(tmp_path / "store" / "p.db")) as store:
        rows = store.execute("SELECT log_id, step FROM metrics WHERE run_id = 'r' ORDER BY id").fetchall()
    assert rows == [(f"r:{line}", step) for line, step in enumerate([0, 1, 2, 2, 2, 2, 2, 3, 0], start=1)]


def test_it_keeps_the_contract_by_its_own_test(python: Command) -> None:
    """The example's test is the one that its reader would write: it runs as it stands, on the installed package."""
    assert "3 passed" in python("pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE))
