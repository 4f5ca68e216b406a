"""`--html FILE`: a page written as a whole or not at all; `-` is stdout."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gradience.cli import output
from gradience.cli.recorded import Recorded
from gradience.errors import InputError
from gradience.report.plain import plain

STDOUT: Final = "-"
_F = TypeVar("_F", bound=Callable[..., Any])


def run(one: Recorded) -> str:
    """The report of a run."""
    from gradience.report.html import run_report  # only reports in HTML need its library

    return run_report.render(one.place, one.seen, one.replay.course.curves(), one.replay.marks, one.found)


def option(what: str) -> Callable[[_F], _F]:
    """The option of a command that shows something on a page."""
    return click.option("--html", "page", metavar="FILE", help=f"Write {what}: one file, `-` for stdout.")


def check(page: str | None, *, as_json: bool) -> None:
    """Refuse two documents on stdout.

    Raises:
        click.UsageError: both are asked for.
    """
    if as_json and page == STDOUT:
        raise click.UsageError("--json and --html - both want stdout: name a file for the page")


def write(text: str, file: str) -> None:
    """Write a page.

    Raises:
        InputError: The file cannot be written.
    """
    if file == STDOUT:
        output.lines(text)
        return
    try:
        _replace(Path(file).resolve(), text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise InputError(f"cannot write the report to {file}: {error.strerror or error}; name another file") from error
    output.talk(f"Wrote the report to {plain(file)}.")


def _replace(path: Path, content: bytes) -> None:
    """The old file stays until the new one is whole; what is no file, such as a pipe, is written to."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    draft = path.with_name(f".gradience-{os.getpid()}.tmp")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
