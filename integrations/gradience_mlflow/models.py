"""The models that hold an adapter: what was found out about it stands on them, as on the run that trained it.

Nothing here makes a model, and none is guessed. It is the version that the audit was given (`models:/NAME/3`); else the
model that the run logged, where it is the only one or the only one of the adapter's step, and what was registered of
it, or the run's only version.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun

from gradience.errors import SinkError, UnavailableError
from gradience.mirror import audits, standing, view
from gradience.mirror.sink import Batch
from gradience_mlflow import limits
from gradience_mlflow.faults import translated

log = logging.getLogger("gradience.mlflow")

_VERSION: Final = re.compile(r"models:/([^/@]+)/(\d+)(?:/|$)")

Model = Any  # mlflow.entities.LoggedModel, which MLflow 2 does not have
Version = Any  # mlflow.entities.model_registry.ModelVersion


def tag(client: MlflowClient, run: TrackedRun, batch: Batch) -> None:
    """Tag the models of what a batch says about an adapter; a store that has none, or does not let us, costs nothing.

    Raises:
        UnavailableError: the store cannot be reached.
    """
    if not standing.brings(batch):
        return
    try:
        with translated(f"Tagging the models of MLflow run {run.info.run_id}"):
            _tag(client, run, batch)
    except UnavailableError:
        raise
    except SinkError as refused:
        log.info("%s", refused)


def _tag(client: MlflowClient, run: TrackedRun, batch: Batch) -> None:
    if (named := _named(batch)) is not None:
        _tag_version(client, client.get_model_version(*named), view.adapter_tags(batch, is_alone=True))
        return
    tags = view.adapter_tags(batch)
    if not tags:
        return
    model = _logged(client, run, tags.get(standing.ADVICE_STEP_TAG))
    if model is not None:
        client.set_logged_model_tags(model.model_id, _legal(tags))
    for version in _registered(client, run, model):
        _tag_version(client, version, tags)


def _named(batch: Batch) -> tuple[str, str] | None:
    """The version that the last audit of a batch was given."""
    found = audits.of(batch)
    adapter = found[-1].metrics.get("adapter") if found else None
    given = _VERSION.match(str(adapter.get("peft_dir"))) if isinstance(adapter, Mapping) else None
    return (given[1], given[2]) if given else None


def _logged(client: MlflowClient, run: TrackedRun, step: str | None) -> Model | None:
    if not hasattr(client, "search_logged_models"):
        return None
    run_id, experiment = run.info.run_id, run.info.experiment_id
    found: Sequence[Model] = client.search_logged_models([experiment], f"source_run_id = '{run_id}'", max_results=100)
    if len(found) == 1:
        return found[0]
    steps = {output.model_id: str(output.step) for output in getattr(run.outputs, "model_outputs", None) or ()}
    of_step = [model for model in found if step is not None and steps.get(model.model_id) == step]
    return of_step[0] if len(of_step) == 1 else None


def _registered(client: MlflowClient, run: TrackedRun, model: Model | None) -> Sequence[Version]:
    found: Sequence[Version] = client.search_model_versions(f"run_id = '{run.info.run_id}'", max_results=100)
    of_model = [one for one in found if model is not None and one.source in _sources(model)]
    return of_model or (found if len(found) == 1 else [])


def _sources(model: Model) -> tuple[str, ...]:
    """Where a version of the model may say that it comes from."""
    return f"models:/{model.model_id}", model.artifact_location


def _tag_version(client: MlflowClient, version: Version, tags: Mapping[str, str]) -> None:
    for key, value in _legal(tags).items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)


def _legal(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: limits.text(value, limits.TAG) for key, value in tags.items()}
