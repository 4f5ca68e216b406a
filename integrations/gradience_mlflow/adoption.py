"""A tracked run that somebody else made, recognised by its logged output directory.

The Trainer's own callback logs `output_dir` as a param. An audit that has no journal of that training belongs on the
run; a training of ours never does: its directory may be that of yesterday's run.
"""

from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Run
from gradience_mlflow import user

AUDIT: Final = "gradience audit"  # the `meta.created_by` of a journal that an audit had to make
_PARAM: Final = "output_dir"
_CHECKPOINT: Final = "checkpoint-"
_SHOWN: Final = 5  # candidates in a message


def adopted(client: MlflowClient, run: Run, experiments: list[str]) -> TrackedRun | None:
    """The one active run that logged our output directory.

    Raises:
        TargetGoneError: several did; the message names them.
    """
    if trains(run):
        return None
    directories = _directories(run)
    found = {one.info.run_id: one for where in directories for one in _candidates(client, where, experiments)}
    fitting = [one for one in found.values() if _fits(one, directories)]
    if len(fitting) > 1:
        names = ", ".join(f"{one.info.run_id} ({one.info.run_name})" for one in fitting[:_SHOWN])
        raise TargetGoneError(
            f"{len(fitting)} MLflow runs logged output_dir {directories[0]}: {names}. Name the right one with --run."
        )
    return fitting[0] if fitting else None


def trains(run: Run) -> bool:
    """Whether the journal is the record of a training: its config says how it trained, and no audit made it."""
    if run.meta.get("created_by") == AUDIT:
        return False
    parts = (run.config.get("training"), run.config.get("optimizer"))
    return any(value not in (None, {}, [], "") for part in parts if isinstance(part, dict) for value in part.values())


def _directories(run: Run) -> list[Path]:
    """Where the training may have written: as the journal says, else the folder it lies in, checkpoints' parent too."""
    folder = Path(run.journal).parent
    if given := run.meta.get("output_dir"):
        return [(folder / str(given)).resolve(), Path(str(given)).resolve()]
    return [folder.resolve(), *([folder.parent.resolve()] if folder.name.startswith(_CHECKPOINT) else [])]


def _candidates(client: MlflowClient, directory: Path, experiments: list[str]) -> list[TrackedRun]:
    name = directory.name.replace("'", "_")
    return list(client.search_runs(experiments, f"params.`{_PARAM}` LIKE '%{name}%'")) if name else []


def _fits(candidate: TrackedRun, directories: list[Path]) -> bool:
    """Whether a logged directory is ours; a relative one is read from here, and only if it is our own user's."""
    logged = Path(candidate.data.params.get(_PARAM, ""))
    if not logged.is_absolute() and candidate.data.tags.get("mlflow.user") != user.name():
        return False
    return logged.resolve() in directories
