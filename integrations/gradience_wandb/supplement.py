"""A run of somebody else's, recorded offline and over: what it is given goes into a directory beside its own.

`wandb sync` uploads both to one run, the older one first. As it replaces the run's whole summary by what a directory
says, ours says all of it again; delivered means that it stands on disk.
"""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience.mirror import audits
from gradience.mirror.audits import Audit
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.vnext.types import RunStatus
from gradience_wandb import guest, published, recorded, transactions
from gradience_wandb.faults import translated
from gradience_wandb.known import ROOT, Known
from gradience_wandb.recorded import Recorded

_OURS: Final = "gradience"  # an empty file in the directories that we made
_SYNCED: Final = ".synced"  # what wandb appends to the name of a file that it has uploaded


class Supplement:
    """One such run, by all of its directories."""

    def __init__(self, folders: Iterable[Path], run: Run, kinds: Collection[str]) -> None:
        self._folders = list(folders)
        self._kinds = kinds
        self._audit: Audit | None = None
        found = self._look()
        self.tracked = Tracked(id=found.id, position=guest.position(_known(found), run.run_id))

    def deliver(self, batch: Batch) -> None:
        """Write the directory anew, with what was in it and what a batch brings."""
        with translated(f"Writing what W&B run {self.tracked.id} is given"):
            self._write(batch)
        self._audit = next(reversed(audits.of(batch)), self._audit)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Nothing is held, and how the run ended is not ours to say."""

    def _write(self, batch: Batch) -> None:
        found = self._look()
        given = guest.gift(batch, _known(found), self._audit, self._kinds, self._published)
        folder = self._folder(found)
        for name, text in given.files.items():
            path = folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / _OURS).touch()
        records = _records(found, given, folder)
        transactions.write(folder / f"run-{found.id}.wandb", [record.SerializeToString() for record in records])

    def _look(self) -> Recorded:
        found = recorded.whole(self._folders)
        if found is None:
            raise RuntimeError(f"{self._folders[-1]} has lost its records")
        return found

    def _published(self) -> list[Audit]:
        return published.kept(folder / "files" / guest.AUDIT_FILE for folder in self._folders)

    def _folder(self, found: Recorded) -> Path:
        """The directory that we write to: the last one if it is ours and was not uploaded, else a new one."""
        last = self._folders[-1]
        if (last / _OURS).exists() and not any(last.glob(f"*{_SYNCED}")):
            return last
        now = time.time()
        while (folder := _named(last.parent, now, found.id)).exists() or folder.name <= last.name:
            now += 1
        folder.mkdir(parents=True)
        self._folders.append(folder)
        return folder


def _known(found: Recorded) -> Known:
    told = found.summary.get(ROOT)
    told = told if isinstance(told, dict) else {}
    return Known(config=found.config, told=told, tags=tuple(found.run.tags), notes=found.run.notes)


def _named(directory: Path, now: float, run_id: str) -> Path:
    return directory / f"offline-run-{time.strftime('%Y%m%d_%H%M%S', time.localtime(now))}-{run_id}"


def _records(found: Recorded, given: guest.Gift, folder: Path) -> list[Any]:
    files = [path.relative_to(folder / "files").as_posix() for path in (folder / "files").rglob("*") if path.is_file()]
    records = [deepcopy(found.header), *(Record() for _ in range(4))]
    _, run, summary, attached, end = records
    run.run.CopyFrom(found.run)
    run.run.start_time.GetCurrentTime()
    run.run.resume = True
    run.run.notes = given.notes
    run.run.tags[:] = given.tags
    del run.run.config.update[:]
    for key, value in {**found.config, ROOT: given.ours}.items():
        run.run.config.update.add(key=key, value_json=json.dumps(value))
    for path, leaf in _leaves({**found.summary, **given.summary}):
        summary.summary.update.add(nested_key=path, value_json=json.dumps(leaf))
    for name in sorted(files):
        attached.files.files.add(path=name)
    end.exit.CopyFrom(found.exit)
    for number, record in enumerate(records, 1):
        record.num = number
    return records


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value
