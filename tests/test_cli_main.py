import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import gradience
from gradience.cli import main
from gradience.errors import InputError

SaveAdapter = Callable[..., Path]

HEAVY = ("torch", "numpy", "safetensors", "mlflow", "wandb", "transformers", "peft", "yaml")


def _gradience(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradience", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def _imported_by(*arguments: str | Path) -> set[str]:
    """Which heavy modules a command brought in, by a fresh interpreter's own account."""
    program = (
        "import sys\n"
        "from gradience.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('\\n@', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("@")[2].split())


@pytest.mark.slow
def test_looking_around_imports_nothing_heavy() -> None:
    """Help and version: neither torch nor numpy nor a tracker, nor what only some commands need."""
    assert _imported_by("--help") | _imported_by("--version") | _imported_by("audit", "--help") == set()


@pytest.mark.slow
def test_check_and_monitor_import_neither_torch_nor_a_tracker(tmp_path: Path) -> None:
    """They read text, and the rules, which are YAML."""
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    (tmp_path / "run.jsonl").write_text(
        '{"schema": "gradience.vnext.telemetry/v1", "ts": 1, "run_id": "a", "event": "x"}\n'
    )
    assert _imported_by("check", "--peft-dir", tmp_path) <= {"yaml"}
    assert _imported_by("monitor", tmp_path / "run.jsonl") <= {"yaml"}


@pytest.mark.slow
def test_a_refusal_imports_neither_torch_nor_a_tracker(tmp_path: Path) -> None:
    """An adapter that its config rules out is refused at once, also when a tracker is asked for."""
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    found = _imported_by("audit", "--peft-dir", tmp_path) | _imported_by("audit", "--peft-dir", tmp_path / "gone")
    assert found & {"torch", "numpy", "mlflow", "wandb"} == set()


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    """One line each, from the table that loads them."""
    text = CliRunner().invoke(main.group, ["--help"]).stdout
    assert [name for name in main.COMMANDS if f"\n  {name} " not in text] == []
    assert "Exit codes: 0 done" in text


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_every_command_can_be_loaded(name: str) -> None:
    """The table's modules exist, and each has a `command`."""
    assert CliRunner().invoke(main.group, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_a_path_that_cannot_be_read_is_no_wrong_usage(name: str) -> None:
    """Click lets every path through: our own readers say what is wrong with it in one line, with exit code 1."""
    command = main.group.get_command(click.Context(main.group), name)
    assert command is not None
    paths = [option.type for option in command.params if isinstance(option.type, click.Path)]
    assert [path for path in paths if path.exists or path.readable] == []


def test_the_version_is_the_packages() -> None:
    """`gradience --version`."""
    assert CliRunner().invoke(main.group, ["--version"]).stdout == f"gradience {gradience.__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit code 2."""
    assert CliRunner().invoke(main.group, ["chekc"]).exit_code == 2


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `gradience check` raise."""

    def install(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: command)

    return install


def test_an_error_of_ours_is_one_line_on_stderr(failing: Callable[[BaseException], None]) -> None:
    """Exit code 1, nothing on stdout, and no terminal sequence that came in with a name."""
    failing(InputError("cannot read \x1b[2Jfile\nsecond line"))
    result = CliRunner().invoke(main.group, ["check"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: cannot read \\x1b[2Jfile\\nsecond line\n"


def test_ctrl_c_ends_silently(failing: Callable[[BaseException], None]) -> None:
    """Exit code 130, as a shell reports SIGINT."""
    failing(KeyboardInterrupt())
    result = CliRunner().invoke(main.group, ["check"])
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error() -> None:
    """`| head -1` prints no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "gradience", "check", "--lr", "-1"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    """A full disk behind stdout: exit code 1, no traceback, and nothing more from Python as it ends."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "gradience", "check", "--lr", "-1"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: cannot write the output: No space left on device; make room, or send it elsewhere\n",
    )


@pytest.mark.slow
def test_a_command_works_without_a_stdout() -> None:
    """As a shell starts it with `>&-`."""
    line = f"{sys.executable} -m gradience check --lr -1 --fail-on error >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "--fail-on error: lr_not_positive\n")


@pytest.mark.slow
def test_no_color_is_heard() -> None:
    """With NO_COLOR not even a terminal gets escape sequences; elsewhere than on a terminal nobody does."""
    arguments = [sys.executable, "-m", "gradience", "check", "--lr", "-1"]
    assert "\x1b[" in _on_a_terminal(arguments, {})
    assert "\x1b[" not in _on_a_terminal(arguments, {"NO_COLOR": "1"})
    assert "\x1b[" not in _gradience("check", "--lr", "-1").stdout


def _on_a_terminal(command: list[str], extra: dict[str, str]) -> str:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | extra
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    return text
