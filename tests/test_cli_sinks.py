"""Tests of `gradience sinks`: what is installed, what a list means, and whether its trackers answer."""

import json
import os
import pty
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click.testing
import pytest

from gradience.cli.main import group
from tests.test_mirror_config_mistakes import BROKEN

FOLDER = "gradience.testing.folder:FolderSink"
SECRET = "squeamish-ossifrage"  # noqa: S105 - what must not be seen anywhere
SHY = """
import getpass, socket
from gradience.testing import MemorySink

class Shy(MemorySink):
    def __init__(self, *, port: int = 0, password: str = "") -> None:
        super().__init__()
        self.port = port

    @property
    def target(self) -> str:
        return f"shy:{self.port}"

    def probe(self, timeout_s: float) -> str:
        if self.port:
            socket.create_connection(("127.0.0.1", self.port)).recv(1)
        return getpass.getpass("Password: ")
"""
ON_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for distributions of the test's own, with a sink that asks for a password."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "shy.py").write_text(SHY)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("GRADIENCE_SINKS", raising=False)
    monkeypatch.chdir(tmp_path)
    yield place
    sys.modules.pop("shy", None)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections, and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def gradience_(*arguments: str) -> click.testing.Result:
    """The command, in this process."""
    return click.testing.CliRunner().invoke(group, ["sinks", *arguments])


def listed(text: str) -> str:
    """A file with a list of sinks."""
    Path("sinks.yaml").write_text(textwrap.dedent(text))
    return "sinks.yaml"


def offer(site: Path, distribution: str) -> None:
    """Install a distribution that offers the sink `diary`."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradience.sinks]\ndiary = gradience.testing:MemorySink\n")


def test_the_group_alone_lists(site: Path) -> None:
    """As `list` does, also for programs."""
    offer(site, "diary-sink")
    assert gradience_().stdout == gradience_("list").stdout
    assert "diary      diary-sink 1.0  ready\n" in gradience_().stdout
    assert gradience_("--json").stdout == gradience_("list", "--json").stdout
    assert gradience_("--json", "list").exit_code == 2


def test_two_distributions_that_claim_a_name_are_reported(site: Path) -> None:
    """Each with the other, and with what to do; who asks for the name is told the same."""
    offer(site, "diary-sink")
    offer(site, "other-diary")
    lines = gradience_().stdout.splitlines()
    mend = "cannot be used: {} claims the name, too; uninstall one of them"
    assert f"diary      diary-sink 1.0  {mend.format('other-diary')}" in lines
    assert f"diary      other-diary 1.0  {mend.format('diary-sink')}" in lines
    both = [sink for sink in json.loads(gradience_("--json").stdout)["sinks"] if sink["name"] == "diary"]
    assert [(sink["usable"], sink["rivals"]) for sink in both] == [(False, ["other-diary"]), (False, ["diary-sink"])]
    refused = gradience_("check", "diary")
    assert (refused.exit_code, "claimed by diary-sink and other-diary" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_check_says_what_an_entry_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables by their names, never by what is in them."""
    monkeypatch.setenv("PLACE", SECRET)
    monkeypatch.setenv(
        "GRADIENCE_SINKS",
        listed(f"""
        - type: {FOLDER}
          name: archive
          root: ${{PLACE}}
          events: [eval, alert]
          rename: {{train/loss: loss}}
          batch_lines: 10
          retry_max_s: ${{PATIENCE:-5}}
          close_timeout_s: 3
        """),
    )
    (done,) = json.loads(gradience_("check", "--json").stdout)["sinks"]
    assert done["answer"]["verdict"] == "reachable"
    assert done["variables"] == {"root": ["PLACE"], "retry_max_s": ["PATIENCE"]}
    told = gradience_("check")
    assert told.exit_code == 0
    assert told.stdout.startswith(f"archive ({FOLDER}): reachable, no folder yet (")
    assert "/${PLACE}\n  options    root\n" in told.stdout
    assert "variables  root from ${PLACE}, retry_max_s from ${PATIENCE} (not set: its default)\n" in told.stdout
    assert "events     eval, alert\n  renamed    train/loss as loss\n" in told.stdout
    assert (
        "up to 10 lines at once, every 1 s; in an outage an attempt every 5 s at least; 3 s at the end" in told.stdout
    )


def test_what_to_check_has_to_be_said() -> None:
    """A usage error; and names and a file exclude each other."""
    assert (gradience_("check").exit_code, gradience_("check", FOLDER, "--sinks", "x.yaml").exit_code) == (2, 2)


def test_an_empty_list_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a way to switch mirroring off, and nothing that has to be mended."""
    monkeypatch.setenv("GRADIENCE_SINKS", ",")
    for done in (gradience_("check"), gradience_("check", "--sinks", listed("sinks: []"))):
        assert (done.exit_code, done.stderr) == (
            0,
            "There is no sink in it: nothing to check, and nothing is mirrored.\n",
        )


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_list_is_refused_with_every_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each, after one that counts them; `test_mirror_config_mistakes` looks at what they say."""
    text, mistakes = BROKEN[name]
    monkeypatch.setenv("WORD", SECRET)
    monkeypatch.setenv("EMPTY", "")
    refused = gradience_("check", "--sinks", listed(text))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, len(mistakes) + (len(mistakes) > 1))
    assert SECRET not in refused.output


def test_mistakes_are_all_named_and_nothing_is_asked(site: Path) -> None:
    """For programs they are a list."""
    file = listed(f"sinks:\n- type: {FOLDER}\n  rooot: {SECRET}\n- type: shy:Shy\n  port: {SECRET}\n")
    refused = gradience_("check", "--sinks", file)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        "Error: 2 mistakes in sinks.yaml:",
        f"sinks.yaml:3: sinks[0].rooot: no such key of a sink of type {FOLDER}; root?",
        "sinks.yaml:5: sinks[1].port: expected a whole number, found text",
    ]
    told: dict[str, Any] = json.loads(gradience_("check", "--sinks", file, "--json").stdout)
    assert told == {"sinks": [], "mistakes": refused.stderr.splitlines()[1:]}
    assert site.exists()


@pytest.mark.slow
def test_a_check_on_a_terminal_neither_prompts_nor_hangs(silent: int) -> None:
    """One tracker that asks for a password, one that never answers: both are told, within the time that was given."""
    file = listed(f"""
        - {{type: "shy:Shy", name: asks}}
        - {{type: "shy:Shy", name: hangs, port: {silent}, options: {{password: {SECRET}}}}}
        - {{type: "{FOLDER}", root: here}}
        """)
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "gradience", "sinks", "check", "--sinks", file, "--timeout", "5"]
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *command], stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    )  # fmt: skip
    assert child.wait(30) == 4
    assert time.monotonic() - began < 15
    os.close(terminal)
    said = os.read(master, 65_536).decode()
    os.close(master)
    assert "asks (shy:Shy): unreachable, EOFError" in said
    assert "hangs (shy:Shy): unreachable, no answer within 5 s" in said
    assert f"{FOLDER}: reachable" in said
    assert "Password:" not in said
    assert SECRET not in said
