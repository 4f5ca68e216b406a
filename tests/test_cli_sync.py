import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import pytest

import gradience
from gradience.cli.main import group
from gradience.cli.meter import Meter
from gradience.errors import InputError
from gradience.mirror.child import in_child
from gradience.mirror.cursor import Delivery
from gradience.mirror.wish import Wish
from gradience.testing import samples

# A sink of somebody else's distribution: it keeps its runs in a JSON file, and fails as its environment tells it to.
DIARY = """
import fcntl, json, os, time
from pathlib import Path

from gradience.errors import RejectedError, TargetGoneError, UnavailableError
from gradience.mirror.sink import Position, Tracked


class Diary:
    name = "diary"
    process_env = {"DIARY_BOUND": "1"}

    def __init__(self, *, tracking_uri):
        self.path = Path(tracking_uri.rpartition("@")[2])

    @property
    def target(self):
        return f"diary:{self.path}"

    def open(self, run):
        assert os.environ["DIARY_BOUND"] == "1"
        self.run_id = run.run_id
        position = self.read().get(run.run_id, {}).get("position")
        return Tracked(id=f"diary-{run.run_id}", url="diary:page", position=position and Position.parse(position))

    def deliver(self, batch):
        mood = os.environ.get("DIARY_MOOD", "fine")
        if mood == "closed":
            raise UnavailableError("the diary is closed")
        if mood == "gone":
            raise TargetGoneError("somebody has the diary")
        if mood == "stuck":
            time.sleep(600)
        if mood == "picky" and any(record.line == 2 for record in batch.records):
            raise RejectedError("not on page 2")
        with self.path.with_suffix(".lock").open("w") as lock:  # several processes write into one diary
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = self.read()
            run = runs.setdefault(self.run_id, {"rows": {}})
            run["rows"].update({record.line: record.raw.decode() for record in batch.records})
            run["position"] = str(batch.position)
            draft = self.path.with_suffix(".draft")
            draft.write_text(json.dumps(runs))
            draft.replace(self.path)

    def close(self, status, timeout_s):
        pass

    def read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}
"""


class Place:
    """A folder with a journal, a diary, and the distribution that offers the diary as a sink."""

    def __init__(self, folder: Path) -> None:
        self.journal = samples.write(folder / "run.jsonl", samples.steps("r", 1, 5))
        self.diary = folder / "diary.json"

    @property
    def to(self) -> list[str]:
        """Where to."""
        return ["--to", "diary", "--tracking-uri", str(self.diary)]

    def rows(self) -> list[int]:
        """The lines in the diary."""
        return [int(line) for run in json.loads(self.diary.read_text()).values() for line in run["rows"]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    site = tmp_path / "site"
    info = site / "diary_sink-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "diary.py").write_text(textwrap.dedent(DIARY))
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: diary-sink\nVersion: 1.0\n"
        "Provides-Extra: diary\nRequires-Dist: ink-that-nobody-has>=1; extra == 'diary'\n"
    )
    (info / "entry_points.txt").write_text("[gradience.sinks]\ndiary = diary:Diary\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(Path(gradience.__file__).parents[1])]))
    monkeypatch.setenv("DIARY_BOUND", "0")
    yield Place(tmp_path)
    sys.modules.pop("diary", None)  # another test's diary lies in another folder


def gradience_(*arguments: str) -> click.testing.Result:
    """The command, in this process."""
    return click.testing.CliRunner().invoke(group, arguments)


def start_sync(place: Place) -> "subprocess.Popen[str]":
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "gradience", "sync", str(place.journal), *place.to]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(done: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.01)


def test_sync_says_what_was_sent_and_where(place: Place) -> None:
    """Data on stdout: one line for the file, one for each tracked run."""
    result = gradience_("sync", str(place.journal), *place.to)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{place.journal} -> diary: 5 sent, 0 rejected, up to date\n  r: run diary-r  diary:page\n"
    assert place.rows() == [1, 2, 3, 4, 5]


def test_sync_again_sends_nothing(place: Place) -> None:
    """The command may be repeated at any time."""
    gradience_("sync", str(place.journal), *place.to)
    assert "0 sent, 0 rejected, up to date" in gradience_("sync", str(place.journal), *place.to).stdout


def test_from_start_sends_everything_again(place: Place) -> None:
    """For a tracker that was emptied, or a file that was replaced on purpose."""
    gradience_("sync", str(place.journal), *place.to)
    place.diary.unlink()
    assert "5 sent" in gradience_("sync", str(place.journal), *place.to, "--from-start").stdout
    assert place.rows() == [1, 2, 3, 4, 5]


def test_a_tracker_that_is_behind_is_exit_code_4_and_a_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on stderr: how far, why, and what catches up."""
    monkeypatch.setenv("DIARY_MOOD", "closed")
    result = gradience_("sync", str(place.journal), *place.to, "--deadline", "0.2")
    assert result.exit_code == 4
    assert "0 sent, 0 rejected, 5 behind" in result.stdout
    last = result.stderr.splitlines()[-1]
    assert last == (
        f"Behind: diary lacks 5 lines of {place.journal} (the diary is closed). "
        f"Catch up with: gradience sync {place.journal} --to diary --tracking-uri {place.diary}"
    )


@pytest.mark.parametrize("journals", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_why_a_delivery_stopped_is_said_once(
    place: Place, journals: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For each journal: in the line that says how far it is behind."""
    monkeypatch.setenv("DIARY_MOOD", "gone")
    paths = [place.journal, samples.write(place.journal.with_name("more.jsonl"), samples.steps("s", 1, 2))][:journals]
    result = gradience_("sync", *map(str, paths), *place.to)
    assert (result.exit_code, caplog.text) == (4, "")
    assert [line.split(" lacks ")[0] for line in result.stderr.splitlines()] == ["Behind: diary"] * journals
    assert result.stderr.count("somebody has the diary") == journals


def test_the_command_that_catches_up_shows_no_credentials(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed, and may be logged."""
    monkeypatch.setenv("DIARY_MOOD", "closed")
    address = f"diary://me:hunter2@{place.diary}"
    result = gradience_("sync", str(place.journal), "--to", "diary", "--tracking-uri", address, "--deadline", "0.2")
    assert "hunter2" not in result.output


def test_a_rejected_event_is_counted_and_the_rest_arrives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker is up to date with what it can take."""
    monkeypatch.setenv("DIARY_MOOD", "picky")
    result = gradience_("sync", str(place.journal), *place.to)
    assert (result.exit_code, "4 sent, 1 rejected, up to date" in result.stdout) == (0, True)


def test_json_is_one_object_per_file(place: Place, tmp_path: Path) -> None:
    """For programs: everything of the outcome, strict JSON, a line each."""
    other = samples.write(tmp_path / "other.jsonl", samples.steps("o", 1, 2))
    result = gradience_("sync", str(place.journal), str(other), *place.to, "--json")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["journal"], first["sink"], first["state"], first["sent"]) == (
        str(place.journal),
        "diary",
        "up_to_date",
        5,
    )
    assert second["runs"]["o"]["url"] == "diary:page"


def test_one_unusable_file_is_exit_code_1_and_stops_no_other(place: Place, tmp_path: Path) -> None:
    """Each file is a matter of its own."""
    result = gradience_("sync", str(tmp_path / "no.jsonl"), str(place.journal), *place.to)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert place.rows() == [1, 2, 3, 4, 5]


def test_a_replaced_file_is_exit_code_1_and_names_the_way_out(place: Place) -> None:
    """Never silently mixed with what was delivered before."""
    gradience_("sync", str(place.journal), *place.to)
    place.journal.write_bytes(b"".join(samples.steps("r", 3, 9)))
    result = gradience_("sync", str(place.journal), *place.to)
    assert result.exit_code == 1
    assert "--from-start" in result.stderr


def test_an_option_that_the_sink_does_not_take_is_a_usage_error(place: Place) -> None:
    """An option is never dropped in silence."""
    result = gradience_("sync", str(place.journal), *place.to, "--experiment", "demo")
    assert result.exit_code == 2
    assert "the sink diary does not take --experiment" in result.stderr


@pytest.mark.parametrize("more", [(), ("--follow",), ("--dry-run",)])
def test_an_option_that_makes_no_sense_is_told_once(place: Place, more: tuple[str, ...]) -> None:
    """Before any work, however many journals there are."""
    result = gradience_("sync", str(place.journal), "--to", "wandb", "--run", "a/b/c/d", *more)
    said = "Error: 'a/b/c/d' names no W&B run: give it as ID, PROJECT/ID or ENTITY/PROJECT/ID\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", said)


def test_a_terminal_sees_how_far_a_long_delivery_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that overwrites itself on stderr, and is gone at the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("gradience.cli.meter.REDRAW_S", 0.0)
    with Meter([place.journal], "diary") as meter:
        until(lambda: meter.total is not None)
        meter.show(place.journal, 3)
    drawn = capsys.readouterr()
    bar = "[##############          ]"
    assert (drawn.out, drawn.err) == ("", f"\r\x1b[K{place.journal} -> diary: {bar} line 3 of 5\r\x1b[K")


def test_an_unknown_sink_is_exit_code_1(place: Place) -> None:
    """The line names what is installed."""
    result = gradience_("sync", str(place.journal), "--to", "telex")
    assert result.exit_code == 1
    assert "No sink named 'telex' is installed" in result.stderr


def test_sinks_lists_what_is_installed_and_what_it_lacks(place: Place) -> None:
    """Name, distribution, and the library that is missing; `diary` is not imported."""
    sys.modules.pop("diary", None)
    result = gradience_("sinks")
    assert result.exit_code == 0
    assert any("diary-sink 1.0  needs ink-that-nobody-has" in line for line in result.stdout.splitlines())
    assert "diary" not in sys.modules
    assert place.journal.exists()


def test_sinks_as_json(place: Place) -> None:
    """The same for programs."""
    found: list[dict[str, Any]] = json.loads(gradience_("sinks", "--json").stdout)["sinks"]
    (diary,) = [sink for sink in found if sink["name"] == "diary"]
    assert diary["usable"] is False
    assert diary["libraries"] == [{"name": "ink-that-nobody-has", "version": None}]
    assert place.journal.exists()


@pytest.mark.slow
def test_a_child_delivers_and_reports(place: Place) -> None:
    """What audit --log-to does: the tracker's library stays in a process of its own."""
    outcome = in_child(place.journal, Wish(type="diary", options={"tracking_uri": str(place.diary)}), 20)
    assert (outcome.state, outcome.sent, outcome.runs["r"].url) == (Delivery.UP_TO_DATE, 5, "diary:page")
    assert place.rows() == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_child_that_is_behind_reports_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception: the work is done here, and only the tracker lags."""
    monkeypatch.setenv("DIARY_MOOD", "closed")
    outcome = in_child(place.journal, Wish(type="diary", options={"tracking_uri": str(place.diary)}), 0.2)
    assert (outcome.state, outcome.behind, outcome.error) == (Delivery.UNAVAILABLE, 5, "the diary is closed")


@pytest.mark.slow
def test_a_child_s_refusal_is_ours(place: Place) -> None:
    """An input that cannot be used is said in the child's own words."""
    with pytest.raises(InputError, match="No sink named 'telex'"):
        in_child(place.journal, Wish(type="telex"), 5)


@pytest.mark.slow
def test_a_child_that_hangs_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that nobody can interrupt ends with its process, past the deadline."""
    monkeypatch.setenv("DIARY_MOOD", "stuck")
    monkeypatch.setattr("gradience.mirror.child.OVERTIME_S", 3.0)
    began = time.monotonic()
    outcome = in_child(place.journal, Wish(type="diary", options={"tracking_uri": str(place.diary)}), 0.5)
    assert (outcome.state, outcome.error) == (Delivery.UNAVAILABLE, "no answer within 4 s")
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_sync_killed_at_any_moment_is_taken_up_by_the_next(place: Place) -> None:
    """Killed with -9, ten times over a long delivery: each line is there once, with the text of the journal."""
    samples.write(place.journal, samples.steps("r", 6, 12_000))
    for attempt in range(10):
        running = start_sync(place)
        time.sleep(0.15 + 0.05 * attempt)
        running.kill()
        running.communicate()
    assert gradience_("sync", str(place.journal), *place.to).exit_code == 0
    held = json.loads(place.diary.read_text())["r"]["rows"]
    assert [held[str(line)].encode() for line in range(1, 12_001)] == place.journal.read_bytes().splitlines(True)


@pytest.mark.slow
def test_two_syncs_at_once_deliver_everything_once(place: Place) -> None:
    """One works, the other waits until its lines have passed, or takes over."""
    samples.write(place.journal, samples.steps("r", 6, 5_000))
    both = [start_sync(place) for _ in range(2)]
    said = [running.communicate(timeout=60)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0]
    sent = [int(text.split(" -> diary: ")[1].split()[0]) for text in said]
    assert sum(sent) == 5_000
    assert sorted(place.rows()) == list(range(1, 5_001))


@pytest.mark.slow
def test_the_watchdog_ends_a_hanging_sync(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself does not outlive a call that hangs far past the deadline."""
    monkeypatch.setenv("DIARY_MOOD", "stuck")
    script = "import sys, gradience.cli.sync as sync; sync.HUNG_S = 0.5; from gradience.cli.main import main; main()"
    command = [sys.executable, "-c", script, "sync", str(place.journal), *place.to, "--deadline", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("Behind: diary did not answer for 1 s, given up. Catch up with: gradience sync")


@pytest.mark.slow
def test_sync_imports_no_tracker_and_no_torch(place: Place) -> None:
    """A process that delivers to one tracker pays for that one alone."""
    script = (
        "import sys\nfrom gradience.cli.main import main\n"
        "try: main()\n"
        "finally: print(*({'torch', 'numpy', 'mlflow', 'wandb', 'safetensors', 'yaml'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, "sync", str(place.journal), *place.to]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == ""
