"""What W&B's public API asks for: runs, the ends of their histories, and the histories themselves."""

import json
from math import isfinite
from typing import Any

from tests.integrations.wandb_double import filters
from tests.integrations.wandb_double.answer import VIEWER, WHEN, Answer, Data, Variables, page
from tests.integrations.wandb_double.held import Held, Row, TrackedRun


class Reading:
    """The operations that change nothing."""

    def __init__(self, held: Held, address: str) -> None:
        self._held = held
        self._address = address

    @property
    def answers(self) -> dict[str, Answer]:
        """By the name of the operation."""
        return {
            "Viewer": lambda _: {"viewer": VIEWER},
            "GetViewer": lambda _: {"viewer": VIEWER},
            "GetDefaultEntity": lambda _: {"viewer": VIEWER},
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Run": lambda said: self._of_run(said, _shown),
            "RunState": lambda said: self._of_run(said, _shown),
            "QueryRunInfo": lambda said: self._of_run(said, _shown),
            "RunHistoryKeys": lambda said: self._of_run(said, _shown),
            "RunFiles": lambda said: self._of_run(said, lambda run: self._files(run, said)),
            "RunFullHistory": lambda said: self._of_run(said, _whole),
            "RunSampledHistory": lambda said: self._of_run(said, lambda run: _sampled(run, said["specs"])),
            "SampledHistoryPage": lambda said: self._of_run(said, lambda run: _sampled(run, [said["spec"]])),
            "HistoryPage": lambda said: self._of_run(said, lambda run: _paged(run, said)),
            "RunParquetHistory": lambda said: self._of_run(said, _live),
            "Runs": self._runs,
        }

    def _of_run(self, said: Variables, show: Any) -> Data:
        run_id = said.get("name") or said.get("run") or said.get("runName") or ""
        run = self._held.find(said["entity"], said["project"], run_id)
        return {"project": {"internalId": "1", "run": None if run is None else show(run)}}

    def _runs(self, said: Variables) -> Data:
        wanted = json.loads(said.get("filters") or "{}")
        place = (said["entity"], said["project"])
        here = [run for run in self._held.runs.values() if (run.entity, run.project) == place]
        found = [run for run in here if filters.matches(run, wanted)]
        found.sort(key=lambda run: run.created, reverse=(said.get("order") or "").startswith("-"))
        runs = page([_shown(run) for run in found])
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def _files(self, run: TrackedRun, said: Variables) -> Data:
        wanted = said.get("fileNames") or list(run.files)
        return {"fileCount": len(run.files), "files": page([self._file(run, name) for name in wanted])}

    def _file(self, run: TrackedRun, name: str) -> Data:
        url = f"{self._address}/files/{run.path}/{name}"
        size = len(run.files.get(name, b""))
        told = {"mimetype": "", "updatedAt": WHEN, "md5": ""}
        return {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": size, **told}


def _shown(run: TrackedRun) -> Data:
    """A run with every field of the API's fragments."""
    return {
        "id": run.storage_id,
        "projectId": "1",
        "name": run.id,
        "displayName": run.name,
        "tags": run.tags,
        "notes": run.notes,
        "state": run.state,
        "group": run.group,
        "jobType": run.job_type,
        "sweepName": run.sweep,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyLineCount": len(run.lines),
        "historyKeys": {"sets": [], "keys": {}, "lastStep": run.last_step},
        "commit": None,
        "readOnly": False,
        "createdAt": WHEN,
        "heartbeatAt": WHEN,
        "description": None,
        "user": {"name": "me", "username": "me"},
    }


def _whole(run: TrackedRun) -> Data:
    return {"history": [json.dumps(row) for row in run.history], "events": list(run.events.values())}


def _paged(run: TrackedRun, said: Variables) -> Data:
    wanted = range(said["minStep"], said["maxStep"])
    return {"history": [json.dumps(row) for row in run.history if row["_step"] in wanted]}


def _sampled(run: TrackedRun, specs: list[str]) -> Data:
    return {"sampledHistory": [_selected(run, json.loads(spec)) for spec in specs]}


def _selected(run: TrackedRun, spec: dict[str, Any]) -> list[Row]:
    keys = spec.get("keys") or []
    wanted = range(spec.get("minStep", 0), spec.get("maxStep", run.last_step) + 1)  # its last step is meant, too
    rows = [_strict(row) for row in run.history if row["_step"] in wanted]
    return [{key: row[key] for key in keys} for row in rows if all(key in row for key in keys)] if keys else rows


def _live(run: TrackedRun) -> Data:
    return {"parquetHistory": {"parquetUrls": [], "liveData": [_strict(row) for row in run.history]}}


def _strict(row: Row) -> Row:
    """A row as JSON allows it: the service gives numbers that are none as text."""
    return {
        key: str(value) if isinstance(value, float) and not isfinite(value) else value for key, value in row.items()
    }
