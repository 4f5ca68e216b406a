"""The sink as the registry loads it; wandb itself is imported by the first `open`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from gradience.errors import ExtraMissingError, TargetGoneError
from gradience.mirror.artifacts import DEFAULT, Kind, chosen
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.vnext.types import RunStatus
from gradience_wandb import active, onward, place
from gradience_wandb.place import DISABLED, OFFLINE, Wish

if TYPE_CHECKING:
    from gradience_wandb.attached import Attached
    from gradience_wandb.core import Core
    from gradience_wandb.locate import Opened

_HIJACKERS: Final = (  # a process of its own is no sweep's agent, and not the run that the trainer has open
    "WANDB_SERVICE",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_LAUNCH",
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_NAME",
    "WANDB_TAGS",
    "WANDB_NOTES",
    "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE",
    "WANDB_CONFIG_PATHS",
)
_ENV: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(_HIJACKERS),
    "WANDB_SILENT": "true",  # stdout belongs to data, and silence asks for no login
    "WANDB_ERROR_REPORTING": "false",
}


class WandbSink:
    """Mirror runs into Weights & Biases, online or offline as W&B's own settings say.

    Online, delivered means that the server gives back the line's row and our position after it. Offline, it means that
    both stand in the run's `.wandb` file; what `wandb sync` makes of that file later is between it and the server, so a
    journal that was mirrored offline is mirrored anew, whole, when it is mirrored online.

    A run of somebody else's receives audits, advice and alerts once it is over; while it goes on, a run beside it does.
    Only in the process where it is live it is added to meanwhile, best effort: delivered means handed to wandb there.

    Args:
        project: where a new run goes; else WANDB_PROJECT or W&B's settings file, else the journal's `meta.experiment`,
            else "uncategorized".
        entity: the user or team that owns the project; else WANDB_ENTITY, W&B's settings file, the user's own.
        run: the run to deliver to, as `id`, `project/id` or `entity/project/id`.
        beside: the path of somebody else's run that a new one of ours belongs to, because that one is live elsewhere.
        base_url: the server; else WANDB_BASE_URL or W&B's settings file.
        mode: `online`, `offline` or `disabled`; else WANDB_MODE or W&B's settings file.
        group: the group of a new run.
        artifacts: the kinds of files to upload, of `audit`, `report` and `telemetry` (the journal itself, once its
            run is over).
    """

    name: ClassVar[str] = "wandb"
    process_env: ClassVar[Mapping[str, str | None]] = _ENV

    def __init__(
        self,
        *,
        project: str | None = None,
        entity: str | None = None,
        run: str | None = None,
        beside: str | None = None,
        base_url: str | None = None,
        mode: str | None = None,
        group: str | None = None,
        artifacts: Sequence[Kind] = DEFAULT,
    ) -> None:
        self._wish = Wish(
            project=project,
            entity=entity,
            run=run,
            beside=beside,
            base_url=base_url,
            mode=mode or active.mode(),
            group=group,
        )
        self._artifacts = chosen(artifacts)
        self._place = place.resolve(self._wish, os.environ, Path.cwd())
        self._core: Core | None = None
        self._session: Opened | Attached | None = None

    @property
    def target(self) -> str:
        """The server, or offline the directory; then `#run=...` or `#project=...` where one was named."""
        if self._wish.run:
            return f"{self._place.address}#run={self._wish.run}"
        named = "/".join(filter(None, (self._place.entity, self._place.project)))
        return f"{self._place.address}#project={named}" if self._place.project else self._place.address

    def at(self, target: str) -> "WandbSink | None":
        """The sink for a target of another one in the same place; None when a project or run was named here."""
        address, _, choice = target.partition("#")
        if self._wish.run or self._place.project or address != self._place.address or not choice:
            return None
        kind, _, named = choice.partition("=")
        if kind == "run":
            return self._with(run=named)
        entity, _, project = named.rpartition("/")
        return self._with(project=project, entity=entity or None)

    def probe(self, timeout_s: float) -> str:
        """What answers at the server, or whether the folder of offline runs can be written.

        Raises:
            ExtraMissingError: wandb is not installed here.
        """
        self._check_enabled()
        try:
            from gradience_wandb import probing
        except ModuleNotFoundError as missing:
            raise _missing(missing) from None
        return probing.probe(self._place, self._wish, timeout_s)

    def active_run(self) -> Mapping[str, str]:
        """The options that put a run of ours beside the one that is live in this process."""
        return active.options()

    def in_process(self, tracked: str | None) -> bool:
        """Whether the run that is meant is the user's own, live in this process: nobody else may add to it."""
        live, wish = active.run(), self._wish
        if live is None or not active.is_in(live, wish.project, wish.entity):
            return False
        return active.is_meant(live, wish.run) and active.is_meant(live, tracked)

    def open(self, run: Run) -> Tracked:
        """Find the run's tracked run; W&B makes one that is missing when the first line comes.

        Raises:
            ExtraMissingError: wandb is not installed here.
        """
        if self.in_process(run.tracked):
            return self._attach(run)
        self._check_enabled()
        try:
            from gradience_wandb import locate
            from gradience_wandb.core import Core
        except ModuleNotFoundError as missing:
            raise _missing(missing) from None
        self._let_go()
        self._core = self._core or Core(self._place)
        self._session = locate.session(self._core, self._place, self._wish, run, self._artifacts)
        upload = onward.command(self._place, self._wish, run) if self._place.mode == OFFLINE else None
        return msgspec.structs.replace(self._session.tracked, upload=upload)

    def deliver(self, batch: Batch) -> None:
        """Write the batch and its position, and wait until they can be read back."""
        if self._session is None:
            raise RuntimeError("WandbSink.deliver was called before open")
        self._session.deliver(batch)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go; a status ends the tracked run, if Gradience made it and it still goes on."""
        session, self._session = self._session, None
        core, self._core = self._core, None
        try:
            if session is not None:
                session.close(status, timeout_s)
        finally:
            if core is not None:
                core.end()

    def _check_enabled(self) -> None:
        if self._place.mode == DISABLED:
            raise TargetGoneError("W&B is disabled here: nothing is delivered while WANDB_MODE or its settings say so.")

    def _attach(self, run: Run) -> Tracked:
        from gradience_wandb.attached import Attached

        self._let_go()
        self._session = Attached(active.run(), run, self._artifacts)
        return self._session.tracked

    def _let_go(self) -> None:
        """Leave an open run as it is, for another one."""
        session, self._session = self._session, None
        if session is not None:
            session.close(None, 0.0)

    def _with(self, **choice: str | None) -> "WandbSink":
        chosen = msgspec.structs.asdict(msgspec.structs.replace(self._wish, **choice))
        return WandbSink(**chosen, artifacts=tuple(self._artifacts))


def _missing(library: ModuleNotFoundError) -> ExtraMissingError:
    return ExtraMissingError(f"The W&B sink needs {library.name!r}, which is missing: pip install 'wandb>=0.28.2'.")
