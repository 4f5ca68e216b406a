"""An offline run, read back from its files without our own reader's help: by `wandb-core leet inspect`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec


class OfflineRun(msgspec.Struct):
    """What the files of one run add up to. `rows` has each row of a step, so that one that stands twice has two."""

    rows: dict[int, list[dict[str, Any]]] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    tags: list[str] = []
    notes: str = ""
    alerts: list[str] = []
    axes: dict[str, str] = {}
    artifacts: list[str] = []
    exits: list[int] = []

    def values(self, key: str) -> dict[int, Any]:
        """A metric by step."""
        return {step: row[key] for step, rows in self.rows.items() for row in rows if key in row}


def logs(home: Path) -> list[Path]:
    """The transaction logs of offline runs, in the order in which they were begun."""
    return sorted(home.glob("wandb/offline-run-*/run-*.wandb"))


def read(home: Path) -> OfflineRun:
    """The one run of a home."""
    run = OfflineRun()
    for path in logs(home):
        for record in _records(path):
            _take(run, record)
    return run


def _records(path: Path) -> list[dict[str, Any]]:
    import wandb

    core = Path(wandb.__file__).parent / "bin" / "wandb-core"
    command = [str(core), "leet", "inspect", "-no-observability", "-json", "-run-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _take(run: OfflineRun, record: dict[str, Any]) -> None:
    kind = record["type"]
    body = record.get(kind, {})
    if kind == "history":
        run.rows.setdefault(body["step"]["num"], []).append(body["item"])
    elif kind in ("config", "summary"):
        getattr(run, kind).update(body["update"])
    elif kind == "run":
        run.config.update(body.get("config", {}).get("update", {}))
        run.tags = body.get("tags", run.tags)
        run.notes = body.get("notes", run.notes)
    elif kind == "alert":
        run.alerts.append(body["title"])
    elif kind == "metric":
        run.axes[body.get("name") or body["glob_name"]] = body.get("step_metric", "")
    elif kind == "artifact":
        run.artifacts.append(body["name"])
    elif kind == "exit":
        run.exits.append(body.get("exit_code", 0))
