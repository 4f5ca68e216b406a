"""Running the evaluations of `gradience verify`: pair by pair, in alternating order, each until it has a number."""

import math
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from gradience.cli import output
from gradience.cli.verify_input import Input, Judging
from gradience.errors import InputError
from gradience.evaluation import command, metric, outputs, process
from gradience.evaluation.measure import Measure, Measures
from gradience.evaluation.paired import Pair
from gradience.evaluation.process import Ended
from gradience.report.numbers import duration, number
from gradience.report.plain import plain

ORIGINAL: Final = "original"
COMPRESSED: Final = "compressed"
TAIL_LINES: Final = 20
LINE_WIDTH: Final = 200  # bytes of a line of stdout that are shown
_TOLD_TO_GO: Final = 128 + 15  # as a shell reports SIGTERM


class Timed(msgspec.Struct, frozen=True):
    """One measurement, and how long it took."""

    measure: Measure
    seconds: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements; those of one index belong together."""

    metric: str
    seeds: list[int]
    original: list[Timed]
    compressed: list[Timed]

    @property
    def pairs(self) -> list[Pair]:
        """Without the times."""
        both = zip(self.original, self.compressed, strict=True)
        return [Pair(original=one.measure, compressed=other.measure) for one, other in both]


def run(asked: Input, judging: Judging, places: dict[str, Path]) -> Trial:
    """Evaluate both adapters so many times; `places` are their paths.

    Raises:
        InputError: an evaluation fails, or gives no finite number.
    """
    seeds = [judging.seed + index for index in range(judging.repeats)]
    with _ended_when_told(), _kept(asked.output_dir) as folder:
        runner = _Runner(asked, judging, folder)
        for index, seed in enumerate(seeds):
            for side in (ORIGINAL, COMPRESSED) if index % 2 == 0 else (COMPRESSED, ORIGINAL):
                runner.measure(side, places[side], seed)
    found = runner.found
    return Trial(metric=runner.metric or "", seeds=seeds, original=found[ORIGINAL], compressed=found[COMPRESSED])


class _Runner:
    """The evaluations so far; the first one decides which metric it is."""

    def __init__(self, asked: Input, judging: Judging, folder: Path) -> None:
        self._asked, self._judging, self._folder = asked, judging, folder
        self.metric: str | None = None
        self.found: dict[str, list[Timed]] = {ORIGINAL: [], COMPRESSED: []}
        self._done = 0

    def measure(self, side: str, adapter: Path, seed: int) -> None:
        self._done += 1
        what = f"evaluation {self._done} of {2 * self._judging.repeats} ({side}, seed {seed})"
        output.talk(f"{what} ...")
        place = self._folder / f"{self._done}-{side}"
        place.mkdir(parents=True)
        values = {command.ADAPTER: str(adapter), command.SEED: str(seed), command.OUTPUT: str(place)}
        named = None if self._asked.results is None else Path(command.filled(self._asked.results, values))
        before = outputs.stamps(named or place)
        ended = self._run(values)
        self._check(ended, what)
        measure = self._read(lambda: outputs.written(named, before) if named else _found(place, ended), ended, what)
        self.found[side].append(Timed(measure, ended.seconds))
        output.talk(f"  {plain(self.metric or '')} {number(measure.value)} in {duration(ended.seconds)}")

    def _run(self, values: dict[str, str]) -> Ended:
        asked, variable = self._asked, self._judging.seed_variable
        line = command.script(asked.command, values) if asked.shell else command.arguments(asked.command, values)
        shows = (None, None) if asked.quiet else (_Clipped(), _shown)
        env = {variable: values[command.SEED]} if variable else {}
        return process.run(line, env=env, timeout_s=asked.timeout, show_stdout=shows[0], show_stderr=shows[1])

    def _check(self, ended: Ended, what: str) -> None:
        if ended.code == 0:
            return
        if self._asked.quiet:
            _tail(ended)
        raise InputError(f"{what} {_failure(ended, self._asked.timeout)}")

    def _read(self, measures: Callable[[], Measures], ended: Ended, what: str) -> Measure:
        try:
            found = measures()
            self.metric = metric.choose(found, self.metric or self._judging.metric)
        except InputError as error:
            if self._asked.quiet:
                _tail(ended)
            raise InputError(f"{what}: {error}") from error
        if not math.isfinite(found[self.metric].value):
            raise InputError(f"{what}: {self.metric} is {found[self.metric].value}, which is no number to compare")
        return found[self.metric]


def _found(place: Path, ended: Ended) -> Measures:
    """What was left in {output}, else what was printed."""
    return outputs.written(place) or outputs.printed(ended.stdout)


def _shown(piece: bytes) -> None:
    """On stderr: stdout is for the result."""
    sys.stderr.write(piece.decode("utf-8", "replace"))
    sys.stderr.flush()


class _Clipped:
    """The same, line by line: results may be lines of a megabyte."""

    def __init__(self) -> None:
        self._width = 0

    def __call__(self, piece: bytes) -> None:
        for line in piece.splitlines(keepends=True):
            room = max(0, LINE_WIDTH - self._width)
            ends = line.endswith((b"\n", b"\r"))
            self._width = 0 if ends else self._width + len(line)
            _shown(line if len(line) <= room else line[:room] + (b" ...\n" if ends else b""))


def _tail(ended: Ended) -> None:
    for line in (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-TAIL_LINES:]:
        output.talk(f"  {plain(line)}")


def _failure(ended: Ended, timeout_s: float | None) -> str:
    said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
    last = f": {said[-1].strip()[-LINE_WIDTH:]}" if said else ""
    if ended.code is None:
        return f"took longer than --timeout {timeout_s:g}{last}"
    if ended.code < 0:
        return f"was ended by {_signal(-ended.code)}{last}"
    return f"failed with exit code {ended.code}{last}"


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """Where each evaluation's {output} is: in a folder that stays, or one that goes."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="gradience-verify-", ignore_cleanup_errors=True) as place:
            yield Path(place)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"cannot keep results in {folder}: it is not empty; name another folder")
    except OSError as error:
        raise InputError(f"cannot keep results in {folder}: {error.strerror or error}") from error
    yield folder.resolve()


@contextmanager
def _ended_when_told() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does: with the evaluation that is under way."""

    def go(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TOLD_TO_GO)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, go)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
