"""The callback that records what a Trainer does: one line in a script, and nothing that can end its training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradience.recording import provenance
from gradience.recording.harmless import harmless
from gradience.recording.recording import Options, Recording
from gradience_transformers import described, entries


class GradienceCallback(TrainerCallback):
    """Record a Trainer's run: `Trainer(..., callbacks=[GradienceCallback()])`, TRL's trainers included.

    The journal is `<output_dir>/run.jsonl`. Its first event has the training arguments, the PEFT configuration,
    quantisation, versions and commit; then come the steps that the Trainer logs, evaluations under the name of
    their set, and the alerts of the online monitors. A training that is resumed from a checkpoint goes on in the same
    run; one that begins anew is another run in the same file. Only the main process writes.

    A run of the Trainer's own MLflow or W&B callback is joined rather than doubled.

    Args:
        path: the journal, where it is not to be `run.jsonl` in the output directory.
        sinks: the trackers to mirror to: names (`"mlflow"`), mappings with options, or the path of a YAML file; those
            of `GRADIENCE_SINKS` if nothing is given, none for an empty list.
        monitors: whether the run is watched while it trains; a path is that of a policy file.
        allow_text: whether long texts are recorded as they are.
        close_timeout_s: how long the end of the training waits for audits, and for the trackers, in seconds.
        audit: `"save"` audits every checkpoint beside the training; a number the adapter as it is, every so many steps.

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
        self._early: list[dict[str, Any]] = []

    @harmless
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Open the journal, and write down what is meant to be done."""
        if not state.is_world_process_zero:
            return
        if self._recording is not None:
            self._recording.abandon()
        model = given.get("model")
        config, meta = described.config(args, model), {**provenance.meta(), **described.meta(args, model)}
        config["training"]["max_steps"] = state.max_steps
        self._recording = Recording(self._options, str(args.output_dir), resume=state.global_step > 0)
        self._recording.begin(config, meta)
        early, self._early = self._early, []
        self._recording.write(early)

    @harmless
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Record what was logged; an evaluation before the training is kept for it, one after it is added."""
        found = list(entries.events(given.get("logs") or {}, state.global_step))
        if not state.is_world_process_zero or not found:
            return
        if self._recording is None:
            self._early += found
        else:
            self._recording.write(found)

    @harmless
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Have the checkpoint audited, if that is wanted and it holds an adapter."""
        if self._recording is not None and self._options.audit == "save":
            self._recording.audit(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    @harmless
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Have the adapter audited as it is now, if its turn has come: from a copy, so that training goes on."""
        every = self._options.audit
        if self._recording is not None and isinstance(every, int) and state.global_step % every == 0:
            self._recording.audit_copy(state.global_step, given["model"].save_pretrained)

    @harmless
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The training came to its end; trackers get the time to know it."""
        if self._recording is not None:
            self._recording.end()
