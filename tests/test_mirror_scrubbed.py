"""Tests of `gradience.mirror.scrubbed`: a library's own words, without the secrets in them."""

import io
import logging
import sys
import traceback

import pytest

from gradience.mirror import reason, scrubbed
from gradience.mirror.scrubbed import Scrubbed

SECRET = "squeamish-ossifrage"  # noqa: S105 - what must not be seen


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_TOKEN", SECRET)


def test_a_line_goes_on_when_it_is_whole() -> None:
    """A secret that comes in parts is masked, too; what is not flushed waits."""
    out = io.StringIO()
    stream = Scrubbed(out)
    for part in ("a\nno ", SECRET[:5], SECRET[5:], " here\nand"):
        print(part, file=stream, end="")
    assert out.getvalue() == "a\nno [REDACTED] here\n"
    stream.flush()
    assert out.getvalue() == "a\nno [REDACTED] here\nand"


def test_prints_logs_and_traces_are_scrubbed(capsys: pytest.CaptureFixture[str]) -> None:
    """Also by a handler that a library made meanwhile; afterwards the streams are what they were."""
    before = sys.stdout, sys.stderr
    with scrubbed.output():
        print(f"POST http://me:{SECRET}@host/ failed")
        handler = logging.StreamHandler()
        handler.emit(logging.LogRecord("x", 30, "x", 1, "token=%s", (SECRET,), None))
        traceback.print_exception(RuntimeError(f"Authorization: {SECRET}"))
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    assert said.out == "POST http://[REDACTED]@host/ failed\n"
    assert said.err == "token=[REDACTED]\nRuntimeError: Authorization: [REDACTED]\n"


def test_a_process_without_streams_is_left_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell may start one with stdout closed."""
    monkeypatch.setattr(sys, "stdout", None)
    with scrubbed.output():
        assert sys.stdout is None


def test_what_a_sink_was_given_is_learned() -> None:
    """An exception that quotes a password without its address shows none."""
    reason.learn({"tracking_uri": "http://me:open-barley@host", "options": {"api_key": "open-rye-42"}})
    assert reason.of(ValueError("open-barley or open-rye-42")) == "[REDACTED] or [REDACTED]"
