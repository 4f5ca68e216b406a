"""A tracked run that somebody else made, recognised by its logged output directory.

The Trainer's own callback logs `output_dir` as a param. An audit that has no journal of that training belongs on the
run.
"""

from pathlib import Path
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.errors import TargetGoneError
from gradience.mirror import origin
from gradience.mirror.sink import Run
from gradience_mlflow import user

_PARAM: Final = "output_dir"
_SHOWN: Final = 5  # candidates in a message


def adopted(client: MlflowClient, run: Run, experiments: list[str]) -> TrackedRun | None:
    """The one active run that logged our output directory.

    Raises:
        TargetGoneError: several did; the message names them.
    """
    if origin.trains(run):
        return None
    directories = origin.directories(run)
    found = {one.info.run_id: one for where in directories for one in _candidates(client, where, experiments)}
    fitting = [one for one in found.values() if _fits(one, directories)]
    if len(fitting) > 1:
        names = ", ".join(f"{one.info.run_id} ({one.info.run_name})" for one in fitting[:_SHOWN])
        raise TargetGoneError(
            f"{len(fitting)} MLflow runs logged output_dir {directories[0]}: {names}. Name the right one with --run."
        )
    return fitting[0] if fitting else None


def _candidates(client: MlflowClient, directory: Path, experiments: list[str]) -> list[TrackedRun]:
    name = directory.name.replace("'", "_")
    return list(client.search_runs(experiments, f"params.`{_PARAM}` LIKE '%{name}%'")) if name else []


def _fits(candidate: TrackedRun, directories: list[Path]) -> bool:
    """Whether a logged directory is ours; a relative one is read from here, and only if it is our own user's."""
    logged = Path(candidate.data.params.get(_PARAM, ""))
    if not logged.is_absolute() and candidate.data.tags.get("mlflow.user") != user.name():
        return False
    return logged.resolve() in directories
