"""Artifacts of runs and of registered models; imported only in a process of its own.

A version of a registered model never changes, so its copy in the cache stays good. A run's artifacts may be written
again: they are fetched each time.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import mlflow
import msgspec
from mlflow import MlflowClient
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException

from gradience.errors import InputError
from gradience.references import cache, contents
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched
from gradience_mlflow import schema, store
from gradience_mlflow.faults import plain
from gradience_mlflow.sink import MLflowSink

_VERSION: Final = re.compile(r"(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))(?:/(?P<folder>.+))?")
_MODEL_ID: Final = re.compile(r"m-[0-9a-f]+(?:/|$)")
_DEPTH: Final = 2  # levels of folders that are listed


class _Artifacts(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of artifacts: of a run, or of the model at the URI `model`."""

    folder: str  # "" is the root
    run: str | None = None
    model: str | None = None
    made: int | None = None  # when the model's version was registered: what is known to stay as it is

    @property
    def name(self) -> str:
        """What the copy's folder is called."""
        return self.folder.rpartition("/")[2] or (self.model or self.run or "").rpartition("/")[2]

    def listed(self, folder: str) -> list[FileInfo]:
        """The files and folders directly in a folder."""
        if self.model is None:
            return mlflow.artifacts.list_artifacts(run_id=self.run, artifact_path=folder or None)
        return mlflow.artifacts.list_artifacts(artifact_uri=_joined(self.model, folder))

    def download(self, path: str, into: Path) -> Path:
        """One file, somewhere in a local folder."""
        if self.model is None:
            return Path(mlflow.artifacts.download_artifacts(run_id=self.run, artifact_path=path, dst_path=str(into)))
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=_joined(self.model, path), dst_path=str(into)))


class Download:
    """The resolver that runs in the child."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files of a run or a registered model."""
        place = store.resolve(reference.tracker, os.environ, Path.cwd())
        if place.database is not None:
            _check(place.database, reference)
        mlflow.set_tracking_uri(place.uri)
        try:
            found = _run(reference) if reference.scheme == "runs" else _model(reference)
            folder = _folder(place.address, found, reference)
        except MlflowException as error:
            raise InputError(f"cannot fetch {reference.shown} from {place.address}: {plain(error)}") from None
        runs = {MLflowSink.name: found.run} if found.run else {}
        return Fetched(folder=folder, shown=reference.shown, runs=runs)


def _check(database: Path, reference: Reference) -> None:
    if not database.is_file():
        mend = "give --tracking-uri, or set MLFLOW_TRACKING_URI"
        raise InputError(f"cannot fetch {reference.shown}: there is no MLflow store {database}; {mend}")
    schema.check(database)


def _run(reference: Reference) -> _Artifacts:
    run, _, folder = reference.rest.partition("/")
    MlflowClient().get_run(run)  # one that is not there has no artifacts either, and MLflow would not say so
    return _Artifacts(run=run, folder=folder)


def _model(reference: Reference) -> _Artifacts:
    found = _VERSION.fullmatch(reference.rest)
    if found is None:
        return _other_model(reference.rest)
    client, name = MlflowClient(), found["name"]
    version = (
        client.get_model_version_by_alias(name, found["alias"])
        if found["alias"]
        else client.get_model_version(name, found["version"])
    )
    return _Artifacts(
        model=f"models:/{name}/{version.version}",
        folder=found["folder"] or "",
        run=version.run_id or None,
        made=version.creation_timestamp,
    )


def _other_model(rest: str) -> _Artifacts:
    """A stage, `latest` or a model by its own id: MLflow knows what they lead to."""
    levels = 1 if _MODEL_ID.match(rest) else 2
    parts = rest.split("/")
    return _Artifacts(model="models:/" + "/".join(parts[:levels]), folder="/".join(parts[levels:]))


def _folder(address: str, found: _Artifacts, reference: Reference) -> Path:
    identity = [address, str(found.model), str(found.made), found.folder, reference.file or ""]
    known = cache.place("mlflow", identity, found.name)
    wanted = contents.chosen(_paths(found, found.folder, _DEPTH), reference)
    if found.made is not None and cache.holds(known, wanted):
        return known
    with cache.staging() as staged:
        adapter = staged / "adapter"
        for path in wanted:
            (adapter / path).parent.mkdir(parents=True, exist_ok=True)
            found.download(_joined(found.folder, path), staged / "got").rename(adapter / path)
        final = known if found.made is not None else cache.place("mlflow", [cache.digest(adapter)], found.name)
        return cache.settle(adapter, final)


def _paths(found: _Artifacts, folder: str, depth: int) -> Iterator[str]:
    """The files of a folder and of folders in it, by their paths within the reference's folder."""
    for item in found.listed(folder):
        if not item.is_dir:
            yield item.path.removeprefix(found.folder).strip("/")
        elif depth > 1:
            yield from _paths(found, item.path, depth - 1)


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))
