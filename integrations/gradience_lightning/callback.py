"""The callback that records what the Trainer of Lightning does: one line in a script, which cannot end a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from gradience.recording import entries, models, provenance
from gradience.recording.harmless import harmless
from gradience.recording.recording import Options, Recording
from gradience.vnext.types import RunStatus
from gradience_lightning import described, joined
from gradience_lightning.library import Callback
from gradience_lightning.logger import Listener

EPOCH: Final = "epoch"  # the kind of what is logged at the end of one
OTHER: Final = "logged"  # the kind of what other callbacks log
_SPLITS: Final = {"validate": "val", "test": "test"}
_ASKED_TO_STOP: Final = ("KeyboardInterrupt", "SIGTERMException")


class GradienceCallback(Callback):  # type: ignore[misc]
    """Record a run of Lightning's Trainer: `Trainer(..., callbacks=[GradienceCallback()])`.

    The journal is `run.jsonl` in the Trainer's `default_root_dir`. Its first event has hyperparameters, optimiser, the
    PEFT configuration, quantisation, versions and commit; then come steps, every `log_every_n_steps`, with what the
    module logs and the loss that it returns, evaluations by the name of their set, and the alerts of the online
    monitors. A step is the number of optimiser steps taken. A training that goes on from `ckpt_path` goes on in the
    same run; one that begins anew is another run in the same file. Only the main process writes.

    The run of Lightning's own MLflow or W&B logger is joined rather than doubled.

    Args:
        path: the journal, where it is not to be `run.jsonl` in the root directory.
        sinks: the trackers to mirror to: names (`"mlflow"`), mappings with options, or the path of a YAML file; those
            of `GRADIENCE_SINKS` if nothing is given, none for an empty list.
        monitors: whether the run is watched while it trains; a path is that of a policy file.
        allow_text: whether long texts are recorded as they are.
        close_timeout_s: how long the end of the training waits for audits, and for the trackers, in seconds.
        audit: `"save"` audits the adapter whenever a checkpoint is saved, a number every so many steps: a copy of it,
            beside the training. The module has to hold a model of PEFT's.

    Raises:
        GradienceError: A sink is not installed or does not take an option, or a policy cannot be read.
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        sinks: Sequence[Any] | str | Path | None = None,
        monitors: bool | str | Path = True,
        allow_text: bool = False,
        close_timeout_s: float = 30.0,
        audit: int | Literal["save"] | None = None,
    ) -> None:
        self._options = Options(
            path=path,
            sinks=sinks,
            monitors=monitors,
            allow_text=allow_text,
            close_timeout_s=close_timeout_s,
            audit=audit,
        )
        self._options.check()
        self._recording: Recording | None = None
        self._listener: Listener | None = None
        self._step = 0
        self._due: dict[str, Any] | None = None  # a step that was taken, until the Trainer says what it logs of it
        self._is_epoch_over = False

    @harmless
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the journal, and write down what is meant to be done."""
        if not trainer.is_global_zero:
            return
        if self._recording is not None:
            self._recording.abandon()
        config = described.config(trainer, pl_module)
        meta = {**provenance.meta(), **described.meta(trainer, pl_module)}
        self._step, self._due = trainer.global_step, None
        with joined.environment(trainer.loggers):
            self._recording = Recording(self._options, str(trainer.default_root_dir), resume=self._step > 0)
            self._recording.begin(config, meta)
        self._listen(trainer)

    @harmless
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """From here on what is logged is of a step."""
        self._is_epoch_over = False

    @harmless
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step may have been taken; what the module logs of it comes next."""
        if self._recording is None or trainer.global_step == self._step:
            return  # gradients are accumulated
        self._flush()
        self._step = trainer.global_step
        every, audit = trainer.log_every_n_steps, self._options.audit
        if every and self._step % every == 0:
            self._due = {"step": self._step, "loss": _loss(outputs), "lr": described.rates(trainer)}
        if isinstance(audit, int) and self._step % audit == 0:
            self._audit(pl_module)

    @harmless
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """From here on what is logged is of an epoch."""
        self._flush()
        self._is_epoch_over = True

    @harmless
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """An evaluation, in the training or after it."""
        self._flush()
        self._listen(trainer)

    @harmless
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """An evaluation after the training."""
        self._listen(trainer)

    @harmless
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Have the adapter audited, if that is wanted."""
        if self._options.audit == "save":
            self._audit(pl_module)

    @harmless
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The training is left by an exception; Ctrl-C is one."""
        if self._recording is not None:
            self._flush()
            name = type(exception).__name__
            self._recording.end(RunStatus.ABORTED if name in _ASKED_TO_STOP else RunStatus.ERROR, name)

    @harmless
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The training came to its end; trackers get the time to know it."""
        if self._recording is not None:
            self._flush()
            self._recording.end()

    @harmless
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The Trainer gets back the loggers that it had."""
        trainer.loggers = [one for one in trainer.loggers if one is not self._listener]

    def _listen(self, trainer: Any) -> None:
        if self._recording is not None and self._listener not in trainer.loggers:
            self._listener = Listener(lambda metrics: self._hear(trainer, metrics))
            trainer.loggers = [*trainer.loggers, self._listener]

    @harmless
    def _hear(self, trainer: Any, metrics: Mapping[str, Any]) -> None:
        """What the Trainer or a callback logs, by where the Trainer is."""
        found = entries.numbers(metrics)
        if self._recording is None or not found:
            return
        split = _SPLITS.get(trainer.state.stage.value) if trainer.state.stage else None
        if split is not None:
            evaluated = entries.evaluations(found, split)
            self._recording.write(
                [
                    {"event": "eval", "step": trainer.global_step, "split": name, "metrics": told}
                    for name, told in evaluated.items()
                ]
            )
        elif "epoch" not in found:  # not from the Trainer, which says it always
            self._other(trainer.global_step, found)
        elif self._is_epoch_over:
            self._recording.write([_metrics(trainer.global_step, EPOCH, found)])
        else:
            due = self._due or {"step": trainer.global_step}
            self._due = {**due, **entries.training(found)}
            self._flush()

    def _other(self, step: int, found: Mapping[str, float]) -> None:
        """What monitors of Lightning's own log, but for learning rates, which a step has."""
        told = {key: value for key, value in found.items() if not key.startswith("lr-")}
        if told and self._recording is not None:
            self._recording.write([_metrics(step, OTHER, told)])

    def _flush(self) -> None:
        due, self._due = self._due, None
        if due is not None and self._recording is not None:
            loss = entries.numbers({"loss": due.pop("loss", None)})
            self._recording.write([{"event": "train_step", **due, **loss}])

    def _audit(self, module: Any) -> None:
        model = models.adapted(module)
        if self._recording is not None and model is not None:
            self._recording.audit_copy(self._step, model.save_pretrained)


def _loss(outputs: Any) -> Any:
    """The loss that a training step returned, still where it was computed."""
    return outputs.get("loss") if isinstance(outputs, Mapping) else outputs


def _metrics(step: int, kind: str, found: Mapping[str, float]) -> dict[str, Any]:
    return {"event": "metrics", "step": step, "kind": kind, "metrics": dict(found)}
