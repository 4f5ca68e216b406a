"""The tracker that records what a loop of accelerate logs: one argument in a script, and nothing that can end it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from accelerate.tracking import GeneralTracker, on_main_process

from gradience.recording import entries, models, provenance
from gradience.recording.harmless import harmless
from gradience.recording.recording import Options, Recording
from gradience.vnext.telemetry import TelemetryWriter

OTHER: Final = "logged"  # the kind of what is neither of a step nor of an evaluation
_TELLING: Final = ("loss", "lr", "grad_norm")


class GradienceTracker(GeneralTracker):  # type: ignore[misc]
    """Record a loop: `Accelerator(log_with=GradienceTracker())`, beside other trackers in a list, too.

    The run begins with `init_trackers`, whose `config` is its own, and ends with `end_training`; a loop that is left by
    an exception or by Ctrl-C is ended by that when the process ends. What `log` is given is a step where there is a
    loss, a learning rate or a gradient norm in it, and an evaluation of `val`, `eval`, ... where names begin so.
    The run of accelerate's own MLflow or W&B tracker is joined rather than doubled. Only the main process writes.

    Args:
        path: the journal; `run.jsonl` in the working directory, if nothing is given.
        model: whose PEFT configuration, parameters and quantisation are recorded.
        resume: whether the last run of the journal goes on, unless it ended well; else a new one begins.
        sinks: the trackers to mirror to: names (`"mlflow"`), mappings with options, or the path of a YAML file; those
            of `GRADIENCE_SINKS` if nothing is given, none for an empty list.
        monitors: whether the run is watched while it trains; a path is that of a policy file.
        allow_text: whether long texts are recorded as they are.
        close_timeout_s: how long the end of the training waits for the trackers, in seconds.

    Raises:
        GradienceError: A sink is not installed or does not take an option, or a policy cannot be read.
        ValueError: An argument makes no sense.
    """

    name = "gradience"
    requires_logging_directory = False

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        model: Any = None,
        resume: bool = False,
        sinks: Sequence[Any] | str | Path | None = None,
        monitors: bool | str | Path = True,
        allow_text: bool = False,
        close_timeout_s: float = 30.0,
    ) -> None:
        super().__init__()
        self._options = Options(
            path=path, sinks=sinks, monitors=monitors, allow_text=allow_text, close_timeout_s=close_timeout_s
        )
        self._options.check()
        self._model = model
        self._resume = resume
        self._recording: Recording | None = None
        self._config: Mapping[str, Any] | None = None

    @property
    def tracker(self) -> TelemetryWriter | None:
        """The writer, for what a loop has to say beside numbers; None before the run and in other processes."""
        recording = self._begun() if self._config is not None else self._recording
        return None if recording is None else recording.writer

    @on_main_process  # type: ignore[untyped-decorator]
    @harmless
    def start(self) -> None:
        """A run begins; its first event waits for the configuration, which comes next if there is one."""
        if self._recording is not None:
            self._recording.abandon()
            self._recording = None
        self._config = {}

    @on_main_process  # type: ignore[untyped-decorator]
    @harmless
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """What the run is meant to do."""
        self._config = values
        self._begun()

    @on_main_process  # type: ignore[untyped-decorator]
    @harmless
    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Numbers at a step."""
        found = entries.numbers(values)
        recording = self._begun()
        if recording is None or not found:
            return
        events: list[dict[str, Any]] = [
            {"event": "eval", "step": step, "split": split, "metrics": metrics}
            for split, metrics in entries.evaluations(found).items()
        ]
        trained = entries.training(found)
        if any(name in trained for name in _TELLING):
            events.insert(0, {"event": "train_step", "step": step, **trained})
        elif trained.keys() - {"epoch"} or not events:
            events.append({"event": "metrics", "step": step, "kind": OTHER, "metrics": trained})
        recording.write(events)

    @on_main_process  # type: ignore[untyped-decorator]
    @harmless
    def finish(self) -> None:
        """The training came to its end; trackers get the time to know it."""
        recording = self._begun() if self._config is not None else self._recording
        if recording is not None:
            recording.end()

    def _begun(self) -> Recording | None:
        """The recording, which the first call begins."""
        if self._config is not None:
            config, self._config = self._config, None
            self._recording = Recording(self._options, Path.cwd(), resume=self._resume)
            self._recording.begin(models.config(self._model, config), {**provenance.meta(), **models.meta(self._model)})
        return self._recording
