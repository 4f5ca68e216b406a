"""The recorder: appends the events of a run to its telemetry file.

Constructing one raises on a mistake. Recording never raises into training: what cannot be written is counted, and
said once.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import msgspec

from gradience.errors import TelemetryError, TextViolationError
from gradience.vnext import arguments, codec, given, journal, mirroring, monitoring, privacy, recorders, repair, runs
from gradience.vnext.appender import Appender
from gradience.vnext.footing import LOOK_S, Footing
from gradience.vnext.monitoring import Monitor, Said
from gradience.vnext.types import Alert, ConfigSnapshot, RunEnd, RunStart, RunStatus, Severity

_log = logging.getLogger(__name__)
_BOUNDARIES: Final = frozenset({RunStart.name, RunEnd.name})
_UNWATCHED: Final = frozenset({Alert.name, RunEnd.name})  # what the end tells is said before it


class TelemetryWriter:
    """Records one run; the `with` block ends it with a `run_end` that tells how it went.

    A file that exists is never truncated. If its last run did not end `ok`, the recording goes on under its run_id;
    otherwise a new run begins in the same file. `resume` decides otherwise: True goes on with the last run (if there
    is one), False begins a new one. A `run_id` that is given is taken.

    Text is private by default: a string or key over `max_str_len` characters becomes a mark, or raises
    TextViolationError with `on_text_violation="raise"`; `allow_text=True` (or a limit of None) lets it pass. Secrets
    are masked always.

    `sinks` are the trackers that the run is mirrored to while it is recorded: the path of a YAML file, or a list of
    names (`"mlflow"`) and mappings (`{"type": "mlflow", "tracking_uri": ...}`); those of `GRADIENCE_SINKS` if nothing
    is given, none for an empty list. Each is delivered to by a process of its own (`host="process"`); with
    `host="thread"` by a thread of this one, which takes sink objects too; with `host="auto"` by a thread for a sink
    whose run is live in this process. `close` waits `close_timeout_s` seconds, and says what is behind.

    With `monitors=True` the run is watched while it is recorded: when a detector fires (a loss that is not finite or
    diverges, spikes, exploding gradients, a plateau, over-fitting, ...), an alert is recorded right after the event
    that fired it, and sinks raise it while the run is alive. The path of a policy file sets their thresholds.

    `lost` counts events that could not be written, `redacted` texts that were replaced, `renamed` keys that had to
    make way for the envelope. With `strict=True` a loss raises TelemetryError. Safe to use from several threads; a
    forked child and every rank but 0 write nothing.

    Raises:
        TelemetryError: The file is not telemetry, cannot be written, or is being recorded by another process.
        GradienceError: A sink is not installed, does not take an option, or cannot be hosted here.
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        path: str | Path,
        run_id: str | None = None,
        *,
        resume: bool | None = None,
        allow_text: bool = False,
        max_str_len: int | None = privacy.MAX_STR_LEN,
        on_text_violation: Literal["redact", "raise"] = "redact",
        strict: bool = False,
        state_dir: str | Path | None = None,
        sinks: Sequence[Any] | str | Path | None = None,
        host: Literal["process", "thread", "auto"] = "process",
        close_timeout_s: float = 30.0,
        monitors: bool | str | Path | Monitor | None = None,
    ) -> None:
        policy = arguments.policy(None if allow_text else max_str_len, on_text_violation)
        self.path = Path(path)
        self.run_id = arguments.run_id(run_id) or str(uuid.uuid4())
        self.lost = 0
        self._strict = strict
        self._encoder = codec.Encoder(policy)
        self._names = privacy.Policy(known=policy.known)
        self._lock = threading.RLock()  # a signal handler may record while its own thread does
        self._appender: Appender | None = None
        self._silent = recorders.is_silent_rank()
        self._begun = self._ended = self._losing = False
        self._mirror: mirroring.Mirror | None = None
        self._watch = monitoring.watch_for(monitors)
        if not self._silent:
            folder = None if state_dir is None else Path(state_dir)
            self._mirror = mirroring.mirror(self.path, sinks, host, folder, close_timeout_s)
            self._open(resume=run_id is None and resume is not False, always=resume is True, state_dir=state_dir)

    @property
    def redacted(self) -> int:
        """How many texts and secrets were left out."""
        return self._encoder.redacted

    @property
    def renamed(self) -> int:
        """How many keys got a trailing underscore, because the envelope or another key had their name."""
        return self._encoder.renamed

    def run_start(self, config: ConfigSnapshot | Mapping[str, Any] | None = None, meta: Any = None) -> None:
        """The run begins, or goes on after an interruption."""
        self._record(RunStart.name, None, {"config": given.fields(config), "meta": given.fields(meta)})

    def train_step(
        self, /, step: Any, *, loss: Any = None, lr: Any = None, grad_norm: Any = None, **extras: Any
    ) -> None:
        """One optimiser step; `lr` is a number, or a list with one for each parameter group. None is left out."""
        payload: dict[str, Any] = {}
        if loss is not None:
            payload["loss"] = loss
        if lr is not None:
            payload["lr"] = lr
        if grad_norm is not None:
            payload["grad_norm"] = grad_norm
        if extras:
            payload |= {key: value for key, value in extras.items() if value is not None}
        self._record("train_step", step, payload)

    def eval(self, step: Any, *, split: str, metrics: Mapping[str, Any]) -> None:
        """One evaluation of one split: `loss`, `ppl`, `accuracy` (0 to 1), `n`, and any other."""
        self._record("eval", step, {"split": given.text(split) or "unknown", "metrics": given.fields(metrics)})

    def metrics(self, step: Any, *, kind: str, metrics: Mapping[str, Any]) -> None:
        """Measurements of one kind."""
        self._record("metrics", step, {"kind": given.text(kind) or "unknown", "metrics": given.fields(metrics)})

    def alert(
        self, *, severity: Severity | str, code: str, message: str, step: Any = None, context: Any = None
    ) -> None:
        """Something happened that a person should know. An unknown severity counts as a warning."""
        known = repair.severity(severity)
        payload: dict[str, Any] = {
            "severity": known or Severity.WARNING,
            "code": given.text(code),
            "message": given.text(message),
        }
        if known is None:
            payload["severity_"] = severity
        self._record("alert", step, payload | {"context": given.fields(context)})

    def recommendation(self, recommendations: Any, *, step: Any = None, **extras: Any) -> None:
        """Advice: `Recommendation` records or dicts with `severity`, `action` and `message`, one or a list."""
        single = not isinstance(recommendations, Sequence) or isinstance(recommendations, str)
        items = [given.advice(item) for item in ([recommendations] if single else recommendations)]
        self._record("recommendation", step, {"recommendations": items, **extras})

    def run_end(self, status: RunStatus | str = RunStatus.OK, reason: str | None = None) -> None:
        """The run ended; the disk has every line of it when this returns, sealed by this one."""
        payload = {"status": given.text(status)} | ({} if reason is None else {"reason": given.text(reason)})
        with self._lock:
            if self._watch is not None and self._is_open:
                self._raise_alerts(self._watch.end(payload))
            self._record(RunEnd.name, None, payload | self._seal())

    def log(self, event: str, step: Any = None, **fields: Any) -> None:
        """An event of any name, for what the contract does not name."""
        self._record(privacy.clean(given.text(event) or "unknown", self._names, "/event"), step, fields)

    def close(self) -> None:
        """End the run as `ok` unless it was ended, let the file go and the mirror catch up; may be called again."""
        if self._silent or self._appender is None:
            return
        if self._begun and not self._ended:
            self.run_end(RunStatus.OK)
        elif self._begun:
            self._sync()
        self._let_go(replaced=False)

    def replaced(self) -> None:
        """Let the file go without ending the run."""
        self._let_go(replaced=True)

    def muted(self) -> None:
        """Write nothing from now on: called in a forked child."""
        self._silent = True

    def __enter__(self) -> "TelemetryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code) or self._appender is None:
            self.close()
            return
        status = RunStatus.ABORTED if isinstance(error, KeyboardInterrupt) else RunStatus.ERROR
        try:
            self.run_end(status, reason=type(error).__name__)
        except (TelemetryError, TextViolationError):
            _log.warning("the end of the run could not be written to %s", self.path)  # the user's error matters more
        finally:
            self._let_go(replaced=False)

    def _let_go(self, *, replaced: bool) -> None:
        with self._lock:
            appender, self._appender = self._appender, None
        if appender is not None:
            if not self._silent:  # in a forked child the file is its parent's to look after
                self._footing.look(time.time())
            appender.close()
            self._claim.release()
            if self._mirror is not None:
                self._mirror.close(replaced=replaced)

    def _open(self, *, resume: bool, always: bool, state_dir: str | Path | None) -> None:
        if str(self.path) == journal.STDIN:
            raise TelemetryError("cannot record to '-': name a file")
        place = self.path.resolve()
        is_file = place.is_file()  # a device or a pipe has no past to be read
        if is_file:
            runs.check(place)
        appender = Appender(place, create=True)
        try:
            self._claim = recorders.claim(place, self, state_dir)
        except BaseException:
            appender.close()
            raise
        self._appender, self._footing = appender, Footing(appender, self._claim)
        last = runs.last(place) if resume and is_file else None
        if last is not None and (always or runs.status(place, last.run_id) != RunStatus.OK.value):
            self.run_id = last.run_id
        if is_file and self._watch is not None:
            self._watch.catch_up(place, self.run_id)

    def _record(self, event: str, step: Any, payload: dict[str, Any]) -> None:
        if self._silent:
            return
        try:
            with self._lock:
                now = time.time()
                line = self._encoder.event(now, self.run_id, event, step, payload)
                self._open_appender(line).append(line)
                if not 0.0 <= now - self._footing.looked < LOOK_S:  # a clock may be set back
                    self._footing.look(now)
                if not self._begun:
                    self._begin()
                if self._losing or event in _BOUNDARIES:
                    self._written(event)
                if self._watch is not None and event not in _UNWATCHED:
                    self._raise_alerts(self._watch.see(line, event, step, payload))
        except TextViolationError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary to training: a lost event must not end a run
            self._lose(event, error)

    @property
    def _is_open(self) -> bool:
        """Whether the run has begun here and not ended."""
        return self._begun and not self._ended and not self._silent and self._appender is not None

    def _raise_alerts(self, said: Said) -> None:
        for alert in said.alerts:
            self._record(Alert.name, said.step, dict(alert))

    def _open_appender(self, line: bytes) -> Appender:
        if self._appender is None:
            raise ValueError("the writer is closed")
        if len(line) > journal.LINE_LIMIT:
            raise ValueError(f"a line of {len(line)} bytes is over the limit of {journal.LINE_LIMIT}")
        return self._appender

    def _begin(self) -> None:
        self._begun = True
        if self._mirror is not None:
            self._mirror.begin(self.run_id)

    def _written(self, event: str) -> None:
        if self._losing:
            self._losing = False
            _log.warning("telemetry is written to %s again; %d events are lost", self.path, self.lost)
        if event in _BOUNDARIES:
            self._ended = event == RunEnd.name
        if event == RunEnd.name:
            self._footing.look(time.time())
            self._sync()

    def _seal(self) -> dict[str, Any]:
        """The seal of what stands under the file's name before its end is written."""
        if self._silent or self._appender is None:
            return {}
        self._footing.look(time.time())
        taken = self._appender.seal()
        return {} if taken is None else {"seal": msgspec.to_builtins(taken)}

    def _sync(self) -> None:
        """Have the lines on the disk; they are written already, so that a failure loses none."""
        try:
            if self._appender is not None:
                self._appender.sync()
        except OSError as error:
            _log.warning("telemetry in %s may not survive a power cut: %s", self.path, error)

    def _lose(self, event: str, error: Exception) -> None:
        self.lost += 1
        if self._strict:
            raise TelemetryError(f"cannot record {event} to {self.path}: {error}") from error
        if not self._losing:
            self._losing = True
            _log.warning("cannot record %s to %s: %s; the run goes on without telemetry", event, self.path, error)
