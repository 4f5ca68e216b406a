import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gradience.errors import InputError
from gradience.evaluation import process

FAR_S = 60.0  # what is ended at once takes seconds; a bug here would take minutes


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same courtesies, sooner over."""
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    monkeypatch.setattr(process, "_DRAIN_S", 0.3)


def _is_gone(pid: int) -> bool:
    until = time.monotonic() + FAR_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":  # nobody collects it in a container
            return True
        time.sleep(0.05)
    return False


def test_output_is_kept_and_shown() -> None:
    """Both streams, each for itself; variables are added to those that are there."""
    shown: dict[str, bytes] = {"out": b"", "err": b""}

    def show(name: str, piece: bytes) -> None:
        shown[name] += piece

    code = "import os, sys; print('a', os.environ['SEED']); print('b', file=sys.stderr); sys.exit(4)"
    ended = process.run(
        _python(code),
        env={"SEED": "7"},
        timeout_s=None,
        show_stdout=lambda piece: show("out", piece),
        show_stderr=lambda piece: show("err", piece),
    )
    assert (ended.code, ended.stdout, ended.stderr) == (4, "a 7\n", "b\n")
    assert shown == {"out": b"a 7\n", "err": b"b\n"}


def test_megabytes_are_read_and_their_end_kept() -> None:
    """No writer ever waits for a reader, and memory is bounded."""
    code = "import sys\nfor i in range(60): sys.stderr.write('x' * 999_999)\nprint('y' * 40_000_000); print('last')"
    ended = process.run(_python(code), env={}, timeout_s=FAR_S)
    assert ended.code == 0
    assert ended.stdout.endswith("y\nlast\n")
    assert len(ended.stdout) == process.KEPT
    assert len(ended.stderr) == process.TAIL


def test_a_command_that_never_ends_is_ended_with_its_children(tmp_path: Path) -> None:
    """Even one that will not be asked, whose child holds the pipes open."""
    note = tmp_path / "pids"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    began = time.monotonic()
    ended = process.run(_python(code), env={}, timeout_s=2.0)
    assert ended.code is None
    assert time.monotonic() - began < FAR_S
    assert all(_is_gone(int(pid)) for pid in note.read_text().split())


def test_nothing_that_a_command_left_running_stays(tmp_path: Path) -> None:
    """It ended itself; its child did not, and has the pipes."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid)); print('done')\n"
    )
    ended = process.run(_python(code), env={}, timeout_s=FAR_S)
    assert (ended.code, ended.stdout) == (0, "done\n")
    assert _is_gone(int(note.read_text()))


def test_a_command_that_kills_itself_is_told_by_its_signal() -> None:
    """As `subprocess` does: negative."""
    ended = process.run(_python("import os; os.kill(os.getpid(), 9)"), env={}, timeout_s=FAR_S)
    assert ended.code == -signal.SIGKILL


@pytest.mark.parametrize("line", [["no-such-program-here"], ["/"]])
def test_a_command_that_cannot_start_is_said(line: list[str]) -> None:
    """With what may mend it."""
    with pytest.raises(InputError, match=r"cannot run .*: .*; check --command, or add --shell"):
        process.run(line, env={}, timeout_s=None)


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes as soon as there is a process to end."""
    note, popen = tmp_path / "pid", subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> Any:
        child = popen(*arguments, **options)
        note.write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGINT)
        return child

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.run(_python("import time; time.sleep(600)"), env={}, timeout_s=FAR_S)
    assert _is_gone(int(note.read_text()))


def test_a_line_is_run_by_the_shell() -> None:
    """Pipes and all."""
    assert process.run("echo a b | tr a-z A-Z", env={}, timeout_s=FAR_S).stdout == "A B\n"


def test_stdin_is_empty() -> None:
    """A question to the user must not wait for an answer."""
    done = process.run(_python("import sys; print(repr(sys.stdin.read()))"), env={}, timeout_s=FAR_S)
    assert done.stdout == "''\n"
