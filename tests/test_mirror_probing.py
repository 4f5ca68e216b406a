"""Tests of `gradience.mirror.probing`: whatever a tracker does, there is an answer in time."""

import os
import time
from pathlib import Path

import pytest

from gradience.mirror import probing
from gradience.mirror.probing import Question, Verdict

PASSWORD = "hunter2"  # noqa: S105 - what must not be seen
FOLDER = "gradience.testing.folder:FolderSink"
MOODS = """
import os, sys, time
from gradience.testing import MemorySink

class Moody(MemorySink):
    process_env = {"MOODY": "set"}

    def __init__(self, *, mood: str = "", password: str = "") -> None:
        super().__init__()
        self.mood, self.password = mood, password

    def probe(self, timeout_s: float) -> str:
        if self.mood == "prompts":
            with open("/dev/tty") as terminal:
                terminal.readline()
        if self.mood == "asks":
            input("Password: ")
        if self.mood == "hangs":
            time.sleep(600)
        if self.mood == "dies":
            os._exit(7)
        if self.mood == "leaks":
            raise RuntimeError(f"POST http://me:{self.password}@host/ failed")
        print("a library's chatter")
        return f"hello\\nfrom {os.environ['MOODY']}, {timeout_s > 1}"

class Mute:
    name, process_env, target = "mute", {}, "mute:"
    open = deliver = close = None
"""


@pytest.fixture(autouse=True)
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moods.py").write_text(MOODS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def moody(mood: str, **options: str) -> Question:
    """A sink in a mood."""
    return Question(sink="moods:Moody", options={"mood": mood, **options})


@pytest.mark.slow
def test_every_mood_of_a_tracker_is_answered_in_time(tmp_path: Path) -> None:
    """All are asked at once; one that prompts has no terminal, and one that hangs is ended at the deadline."""
    questions = [
        moody(""),
        moody("prompts"),
        moody("asks"),
        moody("dies"),
        moody("leaks", password=PASSWORD),
        moody("hangs"),
        Question(sink="moods:Mute"),
        Question(sink="no-such-sink"),
        Question(sink=FOLDER, options={"root": str(tmp_path / "none")}),
    ]
    began = time.monotonic()
    answers = probing.probe(questions, 6.0)
    assert time.monotonic() - began < 10
    told = [(answer.verdict, answer.said) for answer in answers]
    assert told[0] == (Verdict.REACHABLE, "hello from set, True")
    assert told[1] == (Verdict.UNREACHABLE, "OSError: [Errno 6] No such device or address: '/dev/tty'")
    assert told[2] == (Verdict.UNREACHABLE, "EOFError: EOF when reading a line")
    assert told[3] == (Verdict.UNREACHABLE, "the process that asked ended with code 7")
    assert told[4] == (Verdict.UNREACHABLE, "RuntimeError: POST http://[REDACTED]@host/ failed")
    assert told[5] == (Verdict.UNREACHABLE, "no answer within 6 s")
    assert told[6] == (Verdict.UNKNOWN, "not asked: this sink cannot be probed")
    assert told[7][0] is Verdict.MISTAKEN
    assert told[8] == (Verdict.REACHABLE, "no folder yet")
    assert not (tmp_path / "none").exists()
