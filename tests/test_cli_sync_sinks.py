"""Sinks from a file: `--sinks FILE` of `sync` and `audit`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import pytest

from gradience.cli.main import group
from gradience.mirror.child import in_child
from gradience.mirror.wish import Wish
from gradience.testing import samples
from gradience.testing.folder import runs

SINK = "gradience.testing.folder:FolderSink"


class Place:
    """Journals, two trackers, and a file that lists them."""

    def __init__(self, folder: Path) -> None:
        self.journal = samples.write(folder / "run.jsonl", samples.every_event("r"))
        self.trackers = [folder / "one", folder / "two"]
        for tracker in self.trackers:
            tracker.mkdir()
        self.file = folder / "sinks.yaml"
        self.file.write_text(
            f"- {{type: {SINK}, root: '${{ONE}}', name: one}}\n- {{type: {SINK}, root: {folder}/two, events: [eval]}}\n"
        )

    def lines(self) -> list[int]:
        """How many lines each tracker holds."""
        return [sum(len(run.rows) for run in runs(tracker).values()) for tracker in self.trackers]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("ONE", str(tmp_path / "one"))
    return Place(tmp_path)


def gradience_(*arguments: object) -> click.testing.Result:
    """The command."""
    return click.testing.CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_every_sink_of_the_file_is_caught_up(place: Place) -> None:
    """Each as its entry says; one that is behind is the exit code, and costs the others nothing."""
    (place.trackers[0] / "fault").write_text("refused")
    result = gradience_("sync", place.journal, "--sinks", place.file, "--deadline", 1)
    assert (result.exit_code, place.lines()) == (4, [0, 9])
    assert f"Catch up with: gradience sync {place.journal} --sinks {place.file}" in result.stderr
    (place.trackers[0] / "fault").write_text("")
    result = gradience_("sync", place.journal, "--sinks", place.file)
    assert (result.exit_code, result.stderr, place.lines()) == (0, "", [9, 9])
    assert result.stdout.startswith(f"{place.journal} -> one: 9 sent, 0 rejected, up to date\n")
    assert [b"left_out" in row.encode() for row in runs(place.trackers[1])["r"].rows.values()].count(True) == 6


def test_status_and_forecast_are_those_of_the_file(place: Place) -> None:
    """Also of a sink that has nothing yet; no tracker is contacted."""
    status = gradience_("sync", place.journal, "--sinks", place.file, "--status", "--json")
    found = [json.loads(line) for line in status.stdout.splitlines()]
    assert (status.exit_code, [(one["target"], one["behind"]) for one in found]) == (
        4,
        [(str(tracker), 9) for tracker in place.trackers],
    )
    forecast = gradience_("sync", place.journal, "--sinks", place.file, "--dry-run")
    assert (forecast.exit_code, forecast.stdout.count("9 lines to send")) == (4, 2)
    assert place.lines() == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", SINK], 2, "--to does not go together with --sinks"),
        (["--run", "x"], 2, "--run does not go together with --sinks"),
        (["--sinks", "none.yaml"], 1, "cannot read sinks from none.yaml"),
    ],
)
def test_the_file_says_where(place: Place, arguments: list[str], code: int, words: str) -> None:
    """And nothing else."""
    result = gradience_("sync", place.journal, "--sinks", place.file, *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True)


def test_every_mistake_of_the_file_has_a_line_of_its_own(place: Place) -> None:
    """One error, exit code 1; so for an audit, before it begins."""
    place.file.write_text("- mlfow\n- {type: mlflow, trackin_uri: x}\n")
    for command in (["sync", place.journal], ["audit", "--peft-dir", place.journal.parent]):
        result = gradience_(*command, "--sinks", place.file)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            f"Error: 2 mistakes in {place.file}:",
            f"{place.file}:1: [0]: no sink named 'mlfow' is installed; mlflow?",
            f"{place.file}:2: [1].trackin_uri: no such key of a sink of type mlflow; tracking_uri?",
        ]
    place.file.write_text("sinks: []\n")
    assert "it lists none" in gradience_("sync", place.journal, "--sinks", place.file).stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_is_wrong_with_a_journal_is_said_once(place: Place, dry: tuple[str, ...]) -> None:
    """And not once for every sink, of which none can do anything about it."""
    missing, other = place.journal.with_name("no.jsonl"), place.journal.with_name("notes.jsonl")
    other.write_text("notes\n")
    result = gradience_("sync", missing, other, "--sinks", place.file, *dry)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: no such telemetry file: {missing}; check the path\n"
        f"Error: cannot deliver {other}: it is not a telemetry file; name the .jsonl of a run\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--log-to", SINK], "give --log-to or --sinks, not both"), (["--run", "x"], "say that in the file")],
)
def test_an_audit_takes_a_name_or_a_file(place: Place, arguments: list[str], words: str) -> None:
    """What is said twice may be said differently."""
    result = gradience_("audit", "--peft-dir", "x", "--sinks", place.file, *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)


@pytest.mark.slow
def test_a_service_follows_for_every_sink_of_the_file(place: Place) -> None:
    """Told to leave, it delivers what is there to each."""
    command = [sys.executable, "-m", "gradience", "sync", str(place.journal.parent), "--follow"]
    with subprocess.Popen([*command, "--sinks", str(place.file)], stderr=subprocess.PIPE, text=True) as service:
        limit = time.monotonic() + 30.0
        while place.lines() != [9, 9]:
            assert time.monotonic() < limit
            time.sleep(0.05)
        samples.write(place.journal, samples.steps("r", 3, 4))
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    assert place.lines() == [11, 11]


@pytest.mark.slow
def test_options_never_stand_on_a_command_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody can read those; what a child is to know it hears by stdin."""
    seen: list[list[str]] = []
    popen = subprocess.Popen

    def watched(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        seen.append(command)
        return popen(command, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(subprocess, "Popen", watched)
    wish = Wish(type=SINK, options={"root": str(place.trackers[0])}, events=("eval",))
    assert in_child(place.journal, wish, 20).sent == 9
    assert str(place.trackers[0]) not in " ".join(seen[0])
