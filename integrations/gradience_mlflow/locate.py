"""Which tracked run belongs to a journal's run: found, attached to, or created, and never guessed.

In this order: the run that was named, the one tagged with our run_id, the cursor's record, MLFLOW_RUN_ID, the one run
whose logged output directory is ours, a new one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from gradience.errors import SinkError, TargetGoneError
from gradience.mirror import origin
from gradience.mirror.sink import Run
from gradience.mirror.view import CURSOR_TAG, RUN_ID_TAG
from gradience_mlflow import adoption, user
from gradience_mlflow.faults import translated
from gradience_mlflow.keys import legal
from gradience_mlflow.limits import TAG, milliseconds, text

CREATOR_TAG: Final = "gradience.created_by"
CREATOR: Final = "gradience"
_PAGE: Final = 1000  # experiments in one answer


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for, by option or by MLflow's own environment variables."""

    run: str | None = None
    experiment: str | None = None
    experiment_id: str | None = None
    inherited_run: str | None = None  # MLFLOW_RUN_ID

    @classmethod
    def read(cls, experiment: str | None, run: str | None, environ: Mapping[str, str]) -> "Wish":
        """The options, completed from the environment."""
        name = experiment or environ.get("MLFLOW_EXPERIMENT_NAME") or None
        by_id = None if name else environ.get("MLFLOW_EXPERIMENT_ID") or None
        return cls(run=run, experiment=name, experiment_id=by_id, inherited_run=environ.get("MLFLOW_RUN_ID") or None)


def tracked_run(client: MlflowClient, run: Run, wish: Wish) -> TrackedRun:
    """The one tracked run of `run`.

    Raises:
        TargetGoneError: it was deleted, does not exist, or several runs could be it.
    """
    with translated(f"Finding the MLflow run of {run.run_id}", opening=True):
        return (
            _named(client, wish.run, "the run that was named")
            or _tagged(client, run, wish)
            or _earlier(client, run)
            or _inherited(client, run, wish)
            or adoption.adopted(client, run, _experiments(client))
            or _created(client, run, wish)
        )


def cursor_tag(found: TrackedRun, run_id: str) -> str:
    """The tag that holds our position; a run that first belonged to another journal keeps the two apart."""
    owner = found.data.tags.get(RUN_ID_TAG, run_id)
    return CURSOR_TAG if owner == run_id else _second_cursor_tag(run_id)


def is_ours(found: TrackedRun, run_id: str) -> bool:
    """Whether Gradience created the tracked run for this `run_id`, so that its status and times are ours to set."""
    tags = found.data.tags
    return bool(tags.get(CREATOR_TAG) == CREATOR and tags.get(RUN_ID_TAG) == run_id)


def _second_cursor_tag(run_id: str) -> str:
    return legal(f"{CURSOR_TAG}.{run_id}")


def _named(client: MlflowClient, tracked: str | None, what: str) -> TrackedRun | None:
    if not tracked:
        return None
    found = client.get_run(tracked)
    if found.info.lifecycle_stage == "deleted":
        raise TargetGoneError(f"MLflow run {tracked}, {what}, is deleted: restore it, or name another with --run.")
    return found


def _earlier(client: MlflowClient, run: Run) -> TrackedRun | None:
    """The run that the cursor remembers. A new one in its place would lack the lines that went to it."""
    try:
        return _named(client, run.tracked, "the run that earlier deliveries went to")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TargetGoneError(
            f"MLflow run {run.tracked}, which earlier deliveries went to, is not in the store any more: name another "
            "with --run, or deliver everything to a new one with --from-start."
        ) from None


def _tagged(client: MlflowClient, run: Run, wish: Wish) -> TrackedRun | None:
    """The oldest active run tagged with our run_id: of the wished experiment first, then of any."""
    wished = _experiment_id(client, run, wish)
    places = [[wished]] if wished else []
    for experiments in [*places, _experiments(client)]:
        for condition in (_equals(RUN_ID_TAG, run.run_id), f"tags.`{_second_cursor_tag(run.run_id)}` LIKE '%'"):
            found = client.search_runs(experiments, condition, run_view_type=ViewType.ALL)
            if chosen := _oldest_active(_exactly(found, run.run_id)):
                return chosen
    return None


def _equals(tag: str, value: str) -> str:
    """A filter for a tag's value; MLflow's filters know no escape, so a value with a quote is matched by pattern."""
    if "'" in value:
        return f"tags.`{tag}` LIKE '{value.replace(chr(39), '_')}'"
    return f"tags.`{tag}` = '{value}'"


def _exactly(found: list[TrackedRun], run_id: str) -> list[TrackedRun]:
    tags = (RUN_ID_TAG, _second_cursor_tag(run_id))
    return [one for one in found if one.data.tags.get(tags[0]) == run_id or tags[1] in one.data.tags]


def _oldest_active(found: list[TrackedRun]) -> TrackedRun | None:
    active = [one for one in found if one.info.lifecycle_stage == "active"]
    if found and not active:
        raise TargetGoneError(f"MLflow run {found[0].info.run_id} is deleted: restore it, or name another with --run.")
    return min(active, key=lambda one: (one.info.start_time, one.info.run_id), default=None)


def _experiments(client: MlflowClient) -> list[str]:
    """The ids of every active experiment."""
    found: list[str] = []
    token = None
    while token is None or token:
        page = client.search_experiments(ViewType.ACTIVE_ONLY, max_results=_PAGE, page_token=token)
        found += [experiment.experiment_id for experiment in page]
        token = page.token or ""
    return found


def _inherited(client: MlflowClient, run: Run, wish: Wish) -> TrackedRun | None:
    """The run that MLflow would resume here. A training never joins one that another training of ours is tracked on."""
    found = _named(client, wish.inherited_run, "named by MLFLOW_RUN_ID")
    taken = found is not None and found.data.tags.get(RUN_ID_TAG, run.run_id) != run.run_id
    return None if taken and origin.trains(run) else found


def _experiment_id(client: MlflowClient, run: Run, wish: Wish) -> str | None:
    """The wished experiment, if it is there already."""
    if wish.experiment_id:
        return wish.experiment_id
    name = _experiment_name(run, wish)
    found = client.get_experiment_by_name(name) if name else None
    if found is not None and found.lifecycle_stage == "deleted":
        raise TargetGoneError(f"MLflow experiment {name!r} is deleted: restore it, or name another with --experiment.")
    return found.experiment_id if found else None


def _experiment_name(run: Run, wish: Wish) -> str | None:
    named = wish.experiment or run.meta.get("experiment")
    return text(named, limit=500) if named else None


def _created(client: MlflowClient, run: Run, wish: Wish) -> TrackedRun:
    experiment = _experiment_id(client, run, wish) or _new_experiment(client, run, wish)
    try:
        return client.create_run(
            experiment, start_time=milliseconds(run.started), run_name=_run_name(run), tags=_first_tags(run)
        )
    except (SinkError, MlflowException, OSError):  # the server may have created it before the answer was lost
        if found := _tagged(client, run, wish):
            return found
        raise


def _new_experiment(client: MlflowClient, run: Run, wish: Wish) -> str:
    name = _experiment_name(run, wish)
    if name is None:
        return "0"  # MLflow's "Default"
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another process may have been faster, or the answer was lost
        if found := _experiment_id(client, run, wish):
            return found
        raise


def _run_name(run: Run) -> str:
    return text(run.meta.get("run_name") or Path(run.journal).parent.name or run.run_id, limit=250)


def _first_tags(run: Run) -> dict[str, Any]:
    """The tags of a created run, with user and source as MLflow's own integrations set them."""
    return {
        RUN_ID_TAG: text(run.run_id, TAG),
        CREATOR_TAG: CREATOR,
        "mlflow.user": text(run.meta.get("user") or user.name(), TAG),
        "mlflow.source.name": text(run.meta.get("source") or run.journal, TAG),
        "mlflow.source.type": "LOCAL",
    }
