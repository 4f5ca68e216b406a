"""Whether trackers can be reached now: each is asked by its own sink, in a process of its own.

A tracker's library may hang, prompt or end the process. Here it does so in a child without stdin and without a
terminal, and only until the deadline. What the child is told comes by stdin, because options may hold credentials.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from enum import Enum
from typing import IO, Any, Final, NoReturn

import msgspec

from gradience import child_process
from gradience.errors import ExtraMissingError, InputError, SinkError
from gradience.mirror import environment, reason, registry
from gradience.mirror.sink import Sink

_MODULE: Final = "gradience.mirror.probing"
_LAST_WORDS_S: Final = 1.0  # for a sink that keeps to its time to say why, before it is ended
_TOLD_NOTHING: Final = "not asked: this sink cannot be probed"


class Verdict(str, Enum):
    """What came of a probe."""

    REACHABLE = "reachable"
    UNKNOWN = "unknown"  # the sink has no probe
    UNREACHABLE = "unreachable"
    MISTAKEN = "mistaken"  # what was asked for makes no sense, or a library is missing


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One sink as `registry.load` takes it; `options` may hold credentials."""

    sink: str
    options: Mapping[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The tracker's answer, or why there is none, in one line without credentials."""

    verdict: Verdict
    said: str
    took_s: float


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    question: Question
    until: float  # on the monotonic clock, which processes of one machine share


def probe(questions: Iterable[Question], timeout_s: float) -> list[Answer]:
    """Ask every tracker at once, and wait `timeout_s` for all of them; the time to import their libraries counts."""
    began = time.monotonic()
    with ExitStack() as stack:
        children = [_Child(_Task(question=one, until=began + timeout_s), stack) for one in questions]
        return [child.answer(began, timeout_s) for child in children]


class _Child:
    """One process that asks, ended with the stack."""

    def __init__(self, task: _Task, stack: ExitStack) -> None:
        self._said: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        self._process = subprocess.Popen(
            [*child_process.PYTHON, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(child_process.end, self._process)
        child_process.tell(self._process, msgspec.json.encode(task))

    def answer(self, began: float, timeout_s: float) -> Answer:
        """What it says until the deadline."""
        try:
            code = self._process.wait(max(0.0, began + timeout_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Answer(verdict=Verdict.UNREACHABLE, said=f"no answer within {timeout_s:g} s", took_s=timeout_s)
        self._said.seek(0)
        try:
            return msgspec.json.decode(self._said.read(), type=Answer)
        except msgspec.DecodeError:
            said = f"the process that asked ended with code {code}"
            return Answer(verdict=Verdict.UNREACHABLE, said=said, took_s=time.monotonic() - began)


def main() -> NoReturn:
    """Ask one tracker, as stdin says."""
    began = time.monotonic()
    with child_process.voice() as voice:
        task = msgspec.json.decode(child_process.told(), type=_Task)
        verdict, said = _ask(task)
        voice.write(msgspec.json.encode(Answer(verdict=verdict, said=said, took_s=time.monotonic() - began)))
    os._exit(0)  # a tracker's hooks at exit may block for ever


def _ask(task: _Task) -> tuple[Verdict, str]:
    try:
        sink = registry.load(task.question.sink, **task.question.options)
        environment.enter(sink.process_env)
        return _asked(sink, task.until - time.monotonic() - _LAST_WORDS_S)
    except (InputError, ExtraMissingError) as error:
        return Verdict.MISTAKEN, reason.of(error)
    except SinkError as error:
        return Verdict.UNREACHABLE, reason.of(error)
    except Exception as error:  # noqa: BLE001 - a sink is foreign code: whatever it raises, it did not get an answer
        return Verdict.UNREACHABLE, f"{type(error).__name__}: {reason.of(error)}"


def _asked(sink: Sink, timeout_s: float) -> tuple[Verdict, str]:
    ask = getattr(sink, "probe", None)
    if ask is None:
        return Verdict.UNKNOWN, _TOLD_NOTHING
    return Verdict.REACHABLE, reason.safe(" ".join(str(ask(max(timeout_s, 0.0))).split()))


if __name__ == "__main__":
    main()
