"""What wandb-core asks for while a run is recorded: the run, its stream of rows, its files, its alerts."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from tests.integrations.wandb_double.answer import Answer, Data, RefusedError, Variables
from tests.integrations.wandb_double.held import Alert, Held, TrackedRun


class Writing:
    """The operations on runs that change them."""

    def __init__(self, held: Held, address: str) -> None:
        self._held = held
        self._address = address
        self._alerted: dict[tuple[str, str], float] = {}

    @property
    def answers(self) -> dict[str, Answer]:
        """By the name of the operation."""
        return {
            "UpsertBucket": self._upsert,
            "RunResumeStatus": self._resume_status,
            "CreateRunFiles": self._create_files,
            "MarkRunFilesUploaded": lambda _: {"markRunFilesUploaded": {"success": True}},
            "NotifyScriptableRunAlert": self._alert,
            "DeleteRun": self._delete,
        }

    def stream(self, entity: str, project: str, run_id: str, sent: Mapping[str, Any]) -> Data:
        """Take a part of a run's stream of files."""
        run = self._found(entity, project, run_id)
        files = sent.get("files") or {}
        for name, part in files.items():
            self._take(run, name, part)
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")
            run.become("finished" if run.exit_code == 0 else "failed")
        else:
            run.become("running")
        return {"exitcode": None, "limits": {}}

    @staticmethod
    def _take(run: TrackedRun, name: str, part: Mapping[str, Any]) -> None:
        content: list[str] = part.get("content") or []
        if name == "wandb-history.jsonl":
            run.append(part["offset"], content)
        elif name == "wandb-summary.json":
            run.summary = json.loads(content[-1])
        elif name == "wandb-events.jsonl":
            run.events = {**run.events, **dict(enumerate(content, part["offset"]))}

    def _upsert(self, said: Variables) -> Data:
        run, inserted = self._named(said)
        for field, keys in _FIELDS.items():
            value = next((said[key] for key in keys if said.get(key) is not None), None)
            if value is not None:
                setattr(run, field, json.loads(value) if field in ("config", "summary") else value)
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": run.entity}}
        bucket = {
            "id": run.storage_id,
            "name": run.id,
            "displayName": run.name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.sweep,
            "project": project,
            "historyLineCount": len(run.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _named(self, said: Variables) -> tuple[TrackedRun, bool]:
        """The run that is to be changed, made if it is new; and whether it is."""
        if (storage_id := said.get("id")) is not None:
            return next(run for run in self._held.runs.values() if run.storage_id == storage_id), False
        entity, project, run_id = said.get("entity") or "me", said.get("project") or "uncategorized", said["name"]
        if (found := self._held.find(entity, project, run_id)) is not None:
            return found, False
        made = TrackedRun(entity=entity, project=project, id=run_id, created=len(self._held.runs))
        if made.path in self._held.deleted:
            raise RefusedError(409, f"run {made.path} was previously created and deleted")
        self._held.put(made)
        return made, True

    def _resume_status(self, said: Variables) -> Data:
        entity, project = said.get("entity") or "me", said.get("project") or "uncategorized"
        run = self._held.find(entity, project, said["name"])
        if run is not None:
            run.resumed += 1
        model = {"id": "p", "name": project, "entity": {"id": "e", "name": entity}}
        return {"model": {**model, "bucket": None if run is None else _bucket(run)}}

    def _create_files(self, said: Variables) -> Data:
        run = self._found(said["entity"], said["project"], said["run"])
        files = [{"name": name, "uploadUrl": f"{self._address}/upload/{run.path}/{name}"} for name in said["files"]]
        return {"createRunFiles": {"runID": run.storage_id, "uploadHeaders": [], "files": files}}

    def _alert(self, said: Variables) -> Data:
        """Take an alert, unless one of its title came so shortly before that the client wants none."""
        run = self._found(said["entityName"], said["projectName"], said["runName"])
        now, title = time.monotonic(), (run.path, said["title"])
        if now - self._alerted.get(title, -math.inf) >= (said.get("waitDuration") or 0) / 1000:
            self._alerted[title] = now
            alert = Alert(title=said["title"], text=said["text"], severity=said.get("severity") or "INFO")
            run.alerts = [*run.alerts, alert]
        return {"notifyScriptableRunAlert": {"success": True}}

    def _delete(self, said: Variables) -> Data:
        self._held.delete(next(run.path for run in self._held.runs.values() if run.storage_id == said["id"]))
        return {"deleteRun": {"clientMutationId": None}}

    def _found(self, entity: str, project: str, run_id: str) -> TrackedRun:
        run = self._held.find(entity, project, run_id)
        if run is None:
            raise RefusedError(404, f"run {entity}/{project}/{run_id} not found")
        return run


# wandb-core and the public API name some variables differently.
_FIELDS = {
    "name": ("displayName", "display_name"),
    "config": ("config",),
    "summary": ("summaryMetrics",),
    "tags": ("tags",),
    "notes": ("notes",),
    "group": ("groupName",),
    "job_type": ("jobType",),
    "sweep": ("sweep",),
    "state": ("state",),
}


def _bucket(run: TrackedRun) -> Data:
    last = [json.dumps(row) for row in run.history[-1:]]
    return {
        "id": run.storage_id,
        "name": run.id,
        "displayName": run.name,
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.lines),
        "eventsLineCount": len(run.events),
        "logLineCount": 0,
        "historyTail": json.dumps(last),
        "eventsTail": json.dumps(list(run.events.values())[-1:]),
        "config": json.dumps(run.config),
        "tags": run.tags,
        "notes": run.notes,
        "wandbConfig": '{"t": 1}',
    }
