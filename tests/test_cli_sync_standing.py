"""`gradience sync --status` and `--dry-run`: what the cursors tell."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click.testing
import pytest

from gradience.cli.main import group
from gradience.mirror.cursor import CursorFile
from gradience.testing import samples
from gradience.testing.folder import runs
from gradience.vnext import lock

SINK = "gradience.testing.folder:FolderSink"


class Place:
    """A directory of two runs, and a tracker."""

    def __init__(self, folder: Path) -> None:
        self.tracker = folder / "tracker"
        self.tracker.mkdir()
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.first = samples.write(self.runs / "a.jsonl", samples.steps("a", 1, 5))
        self.second = samples.write(self.runs / "b.jsonl", samples.steps("b", 1, 7))

    def sync(self, *arguments: str) -> click.testing.Result:
        """The command, for the tracker."""
        return gradience_("sync", *arguments, "--to", SINK, "--tracking-uri", str(self.tracker))

    def status(self) -> list[dict[str, Any]]:
        """What `--status` says of the directory."""
        return documents(gradience_("sync", str(self.runs), "--status", "--json"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def gradience_(*arguments: str) -> click.testing.Result:
    """The command, in this process."""
    return click.testing.CliRunner().invoke(group, arguments)


def documents(result: click.testing.Result) -> list[dict[str, Any]]:
    """The lines of a command that was asked for JSON."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(place: Place) -> None:
    """The exit code is that of a tracker that is behind; nothing is made, neither there nor here."""
    result = place.sync(str(place.runs), "--dry-run")
    assert result.exit_code == 4
    assert f"{place.second} -> {SINK}: 7 lines to send, from line 1; the tracker is asked first" in result.stdout
    assert runs(place.tracker) == {}
    assert sorted(path.name for path in place.runs.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_a_dry_run_knows_where_the_cursor_stands(place: Place) -> None:
    """And which tracked run it leads to."""
    place.sync(str(place.first))
    samples.write(place.first, samples.steps("a", 6, 8))
    result = place.sync(str(place.first), "--dry-run")
    said, tracked = result.stdout.splitlines()
    assert said == f"{place.first} -> {SINK}: 3 lines to send, from line 6"
    assert tracked.startswith("  a: run a  file:")
    (document,) = documents(place.sync(str(place.first), "--dry-run", "--json"))
    assert (document["line"], document["lines"], document["behind"]) == (5, 8, 3)


def test_a_dry_run_of_everything_is_done(place: Place) -> None:
    """Nothing to send is exit code 0."""
    place.sync(str(place.first))
    result = place.sync(str(place.first), "--dry-run")
    assert (result.exit_code, "up to date" in result.stdout) == (0, True)


def test_a_dry_run_from_start_counts_every_line(place: Place) -> None:
    """As the delivery would."""
    place.sync(str(place.first))
    assert "5 lines to send, from line 1\n" in place.sync(str(place.first), "--dry-run", "--from-start").stdout


def test_a_dry_run_finds_a_replaced_file(place: Place) -> None:
    """What the delivery would refuse is refused before."""
    place.sync(str(place.first))
    place.first.write_bytes(b"".join(samples.steps("a", 2, 9)))
    result = place.sync(str(place.first), "--dry-run")
    assert (result.exit_code, "--from-start" in result.stderr) == (1, True)


def test_status_tells_every_cursor(place: Place) -> None:
    """State, lines, the age of the oldest event behind, the tracked run, and when."""
    place.sync(str(place.first))
    place.sync(str(place.second))
    samples.write(place.second, samples.steps("b", 8, 9))
    first, second = place.status()
    assert (first["state"], first["line"], first["behind"], first["lag_s"]) == ("up_to_date", 5, 0, None)
    assert (second["state"], second["line"], second["lines"], second["behind"]) == ("behind", 7, 9, 2)
    assert second["lag_s"] > 3e7  # its events are of 2023
    assert second["runs"]["b"]["id"] == "b"
    assert second["updated"] > second["lag_s"]


def test_status_as_a_table(place: Place) -> None:
    """A line for each target, its tracked runs below it; no --to is needed."""
    place.sync(str(place.first))
    result = gradience_("sync", str(place.first), "--status")
    head, row, target, tracked = result.stdout.splitlines()
    assert result.exit_code == 0
    assert head.split() == ["journal", "sink", "state", "delivered", "lag", "rejected", "updated"]
    assert row.split() == [str(place.first), "folder", "up", "to", "date", "5", "of", "5", "-", "0", "0", "s", "ago"]
    assert target == f"  to {place.tracker}"
    assert tracked.startswith("  a: run a  file:")


def test_status_tells_several_trackers_of_one_journal(place: Place, tmp_path: Path) -> None:
    """In the order of their addresses, each with its own trouble: one parked, one at work, one that is done."""
    trackers = [tmp_path / name for name in ("broken", "working", "done")]
    for tracker in trackers:
        tracker.mkdir()
        gradience_("sync", str(place.first), "--to", SINK, "--tracking-uri", str(tracker))
    samples.write(place.first, samples.steps("a", 6, 6))
    (trackers[0] / "fault").write_text("gone")
    for tracker in (trackers[0], trackers[2]):
        gradience_("sync", str(place.first), "--to", SINK, "--tracking-uri", str(tracker))
    store = CursorFile(place.first, "folder", str(trackers[1]))
    held = lock.acquire(store.lock)
    try:
        result = gradience_("sync", str(place.first), "--status")
    finally:
        held.release()
    plain = re.sub(r"\d+ (d|s ago)", "N", result.stdout.replace(str(tmp_path), ""))
    assert [" ".join(line.split()) for line in plain.splitlines()[1:] if not line.startswith("  a: run a  file:")] == [
        "/runs/a.jsonl folder parked 5 of 6 1 line, N 0 N",
        "to /broken",
        "last error: no permission: log in",
        "/runs/a.jsonl folder up to date 6 of 6 - 0 N",
        "to /done",
        "/runs/a.jsonl folder behind 5 of 6 1 line, N 0 N",
        f"to /working, being delivered by process {os.getpid()} on {socket.gethostname()}",
    ]
    assert result.exit_code == 4


def test_status_of_an_outage_is_exit_code_4_and_the_reason(place: Place) -> None:
    """What a person, or a monitor of the node, wants to know."""
    (place.tracker / "fault").write_text("refused")
    place.sync(str(place.first), "--deadline", "0.1")
    result = gradience_("sync", str(place.first), "--status")
    assert result.exit_code == 4
    assert "unavailable  0 of 5     5 lines, " in result.stdout
    assert result.stdout.splitlines()[-1] == "  last error: connection refused"


def test_status_counts_dead_letters(place: Place) -> None:
    """Lines that the tracker will never take are up to date, and told."""
    place.sync(str(place.first))
    (cursor,) = place.first.with_name("a.jsonl.gradience").glob("folder-*.json")
    cursor.with_suffix(".dead.jsonl").write_text('{"line": 2, "reason": "no", "raw": "{}"}\n')
    assert place.status()[0]["dead_letters"] == 1


def test_status_of_one_tracker_alone(place: Place) -> None:
    """`--to` chooses; a journal that was never delivered there is behind."""
    place.sync(str(place.first))
    result = gradience_("sync", str(place.runs), "--status", "--to", SINK)
    assert result.exit_code == 4
    assert f"{place.second}: nothing was delivered to folder from here yet." in result.stderr


def test_status_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt path is no run that was never delivered; a folder without runs is named."""
    missing, empty = tmp_path / "missing.jsonl", tmp_path / "empty"
    empty.mkdir()
    result = gradience_("sync", str(missing), "--status")
    assert (result.exit_code, result.stderr) == (1, f"Error: no such telemetry file: {missing}; check the path\n")
    assert f"There is no telemetry in {empty}: name" in gradience_("sync", str(empty), "--status").stderr


def test_status_reads_a_state_directory_of_its_own(place: Place, tmp_path: Path) -> None:
    """Cursors are where they were said to be kept."""
    place.sync(str(place.first), "--state-dir", str(tmp_path / "state"))
    result = gradience_("sync", str(place.first), "--status", "--state-dir", str(tmp_path / "state"))
    assert "5 of 5" in result.stdout


def test_without_status_the_tracker_must_be_named(place: Place) -> None:
    """As a usage error."""
    result = gradience_("sync", str(place.first))
    assert (result.exit_code, "Missing option '--to'" in result.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["--status", "--dry-run"])
def test_neither_imports_a_tracker(place: Place, asked: str) -> None:
    """They answer where no tracker's library is installed."""
    script = (
        "import sys\nfrom gradience.cli.main import main\n"
        "try: main()\n"
        "finally: print(*({'torch', 'numpy', 'mlflow', 'wandb', 'safetensors'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, "sync", str(place.runs), "--to", "mlflow", asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=place.runs)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (4, "")
