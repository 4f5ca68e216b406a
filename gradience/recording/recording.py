"""One run as a training callback records it: begun once, ended once, and truthfully also where nobody tells the end."""

import atexit
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gradience.audit.disk import trainer
from gradience.recording.audits import Audits
from gradience.vnext import mirroring, monitoring, state
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import RunStatus

_log = logging.getLogger("gradience.recording")

NAME: Final = "run.jsonl"
HOST: Final = "auto"  # beside this process, unless a tracker's run is live in it
UNFINISHED: Final = "training did not reach its end"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every callback takes, under the same names.

    `path` is the journal, else `run.jsonl` in the output directory. `sinks`, `monitors`, `allow_text` and
    `close_timeout_s` are those of TelemetryWriter. With `audit="save"` every checkpoint is audited beside the training,
    with a number the adapter as it is every so many steps.
    """

    path: str | Path | None = None
    sinks: Sequence[Any] | str | Path | None = None
    monitors: bool | str | Path = True
    allow_text: bool = False
    close_timeout_s: float = 30.0
    audit: int | Literal["save"] | None = None

    def check(self) -> None:
        """Find mistakes while a person can still mend them: before anything is trained.

        Raises:
            GradienceError: a sink is not installed or does not take an option, or a policy cannot be read.
            ValueError: an argument makes no sense.
        """
        self.mirror(Path(NAME))
        monitoring.watch_for(self.monitors)
        is_number = isinstance(self.audit, int) and self.audit is not True and self.audit > 0
        if self.audit not in (None, "save") and not is_number:
            raise ValueError(f"audit is {self.audit!r}: it takes 'save' or a number of steps")

    def mirror(self, path: Path) -> mirroring.Mirror | None:
        """The trackers of a journal, None without; nothing is started yet."""
        return mirroring.mirror(path, self.sinks, HOST, None, self.close_timeout_s)


class Recording:
    """A writer that is open while training is.

    A crash or Ctrl-C leaves `train()` without a word to callbacks. What is still open when the process ends is then
    ended by what ended the process: `error` with the exception's type, `aborted` on Ctrl-C; and as `aborted` where
    nothing of it is known. Only a process that is killed leaves no end.
    """

    def __init__(self, options: Options, output_dir: str | Path, *, resume: bool) -> None:
        """Open the journal; with `resume` its last run goes on, if there is one.

        Raises:
            TelemetryError: the file is not telemetry, cannot be written, or is being recorded by another process.
            GradienceError: a sink is not installed, does not take an option, or cannot be hosted here.
        """
        path = Path(options.path) if options.path is not None else Path(output_dir) / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = TelemetryWriter(
            path,
            resume=resume,
            allow_text=options.allow_text,
            sinks=options.sinks,
            host=HOST,
            close_timeout_s=options.close_timeout_s,
            monitors=options.monitors,
        )
        self._options = options
        self.audits = Audits(path)
        self._is_open = False
        self._last_error = _last_error()

    def begin(self, config: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """The run begins, or goes on."""
        self.writer.run_start(config, meta=meta)
        self._is_open = True
        atexit.register(self._at_exit)  # after the mirror's own, and so before it when the process ends

    def end(self, status: RunStatus = RunStatus.OK, reason: str | None = None) -> None:
        """The run ended, and the trackers have the time of `close_timeout_s` to know it; a second time nothing."""
        if not self._is_open:
            return
        self._is_open = False
        atexit.unregister(self._at_exit)
        if status is RunStatus.OK and not self.audits.wait(self._options.close_timeout_s):
            _log.warning("audits of %s go on after its end", self.writer.path)
        self.writer.run_end(status, reason)
        self.writer.close()

    def write(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Record events, `event` and `step` in each; after the end they are added to the run, and delivered at once."""
        if self._is_open:
            for event in events:
                self.writer.log(**event)
            return
        append_events(self.writer.path, self.writer.run_id, events)
        if (mirror := self._options.mirror(self.writer.path)) is not None:
            mirror.begin(self.writer.run_id)
            mirror.close()

    def audit(self, checkpoint: Path) -> None:
        """Have a checkpoint audited, if it holds an adapter of PEFT's."""
        if self._is_open and trainer.home(checkpoint) is not None:
            self.audits.ask(checkpoint)

    def audit_copy(self, step: int, save: Callable[[str], object]) -> None:
        """Have the adapter audited that `save` writes into the folder it is given."""
        if not self._is_open:
            return
        copy = Path(tempfile.mkdtemp(prefix="audit-", dir=state.folder(self.writer.path)))
        save(str(copy / f"checkpoint-{step}"))
        self.audits.ask(copy / f"checkpoint-{step}", copy=copy)

    def abandon(self) -> None:
        """Another training begins: one that is still open did not come to its end."""
        self.end(RunStatus.ERROR, UNFINISHED)

    def _at_exit(self) -> None:
        error = _last_error()
        if error is None or error is self._last_error:
            self.end(RunStatus.ABORTED, UNFINISHED)
        else:
            status = RunStatus.ABORTED if isinstance(error, KeyboardInterrupt) else RunStatus.ERROR
            self.end(status, type(error).__name__)


def _last_error() -> BaseException | None:
    """The exception that was last shown to a person because nobody caught it, in a script or a notebook."""
    return getattr(sys, "last_value", None)
