"""What the server holds: runs with their rows, artifacts, and the contents of files. Tests read it directly."""

import json
from collections import Counter
from typing import Any

import msgspec

Row = dict[str, Any]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert, as it was asked for."""

    title: str
    text: str
    severity: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One saved view of a project."""

    id: str
    entity: str
    project: str
    name: str
    title: str
    spec: str


class TrackedRun(msgspec.Struct, kw_only=True):
    """One run. `lines` is its history by the client's own line numbers, so a line that is sent again replaces itself.

    `sent` counts every delivery of a step, those of lines that were there already included.
    """

    entity: str
    project: str
    id: str
    created: int
    name: str = ""
    lines: dict[int, Row] = {}
    sent: Counter[int] = msgspec.field(default_factory=Counter)
    events: dict[int, str] = {}
    config: dict[str, Any] = {}  # as it is stored: {key: {"value": ...}}
    summary: dict[str, Any] = {}
    tags: list[str] = []
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    sweep: str | None = None
    state: str = "running"
    states: list[str] = []  # every change of it
    exit_code: int | None = None
    alerts: list[Alert] = []
    files: dict[str, bytes] = {}
    resumed: int = 0  # how often a client asked for it and found it

    @property
    def path(self) -> str:
        """As the public API writes it."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def storage_id(self) -> str:
        """The key by which the public API changes it."""
        return f"storage:{self.path}"

    @property
    def history(self) -> list[Row]:
        """Its rows in the order of their lines."""
        return [self.lines[number] for number in sorted(self.lines)]

    @property
    def rows(self) -> dict[int, list[Row]]:
        """Its rows by step; a step that stands twice has two."""
        found: dict[int, list[Row]] = {}
        for row in self.history:
            found.setdefault(row["_step"], []).append(row)
        return found

    @property
    def last_step(self) -> int:
        """The highest step of its history; -1 without any."""
        return max((row["_step"] for row in self.lines.values()), default=-1)

    @property
    def settings(self) -> dict[str, Any]:
        """Its config as a person sees it."""
        return {key: kept["value"] for key, kept in self.config.items() if key != "_wandb"}

    def become(self, state: str) -> None:
        """Change its state."""
        if self.state != state:
            self.state = state
            self.states = [*self.states, state]

    def append(self, offset: int, content: list[str]) -> None:
        """Take lines of history from the client's line number on."""
        for number, line in enumerate(content, offset):
            row = json.loads(line)
            self.lines[number] = row
            self.sent[row["_step"]] += 1


class Artifact(msgspec.Struct, kw_only=True):
    """One version of an artifact."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    digest: str
    run: str | None = None
    version: int = 0
    aliases: list[str] = []
    metadata: str = "{}"
    manifest: bytes = b""
    committed: bool = False

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """The files of its manifest, by name."""
        found: dict[str, dict[str, Any]] = json.loads(self.manifest or b"{}").get("contents", {})
        return found


class Held(msgspec.Struct):
    """Everything. `runs` are those that were not deleted, by path; `blobs` are contents by their MD5 in hexadecimal."""

    runs: dict[str, TrackedRun] = {}
    deleted: dict[str, TrackedRun] = {}
    artifacts: list[Artifact] = []
    views: list[View] = []
    blobs: dict[str, bytes] = {}

    def find(self, entity: str, project: str, run_id: str) -> TrackedRun | None:
        """A run by its path."""
        return self.runs.get(f"{entity}/{project}/{run_id}")

    def put(self, made: TrackedRun) -> None:
        """Take a run."""
        self.runs[made.path] = made

    def delete(self, path: str) -> None:
        """Delete a run; its id is spent in its project."""
        self.deleted[path] = self.runs.pop(path)
