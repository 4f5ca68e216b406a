"""A run of somebody else's that is over, through W&B's public API, which leaves its state, its end and its rows alone.

Delivered means that the server has answered each request: the position goes with the last of them.
"""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from gradience.errors import TargetGoneError
from gradience.mirror import audits
from gradience.mirror.audits import Audit
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.vnext.types import RunStatus
from gradience_wandb import guest, published
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.known import ROOT
from gradience_wandb.remote import known

DELIVER_S: Final = 60.0  # some six requests
ApiRun = Any  # wandb.apis.public.Run, whose attributes are those that the server answers with


class Finished:
    """One such run. `look` fetches it as it is now: people edit what we add to."""

    def __init__(self, core: Core, look: Callable[[], ApiRun], run: Run, kinds: Collection[str]) -> None:
        self._core = core
        self._look = look
        self._kinds = kinds
        self._audit: Audit | None = None
        found = look()
        position = guest.position(known(found), run.run_id)
        self.tracked = Tracked(id="/".join(found.path), url=found.url, position=position)

    def deliver(self, batch: Batch) -> None:
        """Add what a batch brings; the position goes after everything that must not be missed."""
        what = f"Adding lines {batch.records[0].line} to {batch.records[-1].line} to W&B run {self.tracked.id}"
        with translated(what), self._core.bounded(DELIVER_S, what):
            found = self._over()
            given = guest.gift(batch, known(found), self._audit, self._kinds, lambda: _published(found))
            _upload(found, given.files)
            self._over()  # uploads may have taken long
            found.summary.update(given.summary)
            found.tags, found.notes = list(given.tags), given.notes
            found.config[ROOT] = given.ours
            found.update()
        self._audit = next(reversed(audits.of(batch)), self._audit)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Nothing is held, and how the run ended is not ours to say."""

    def _over(self) -> ApiRun:
        """The run as it is.

        Raises:
            TargetGoneError: its owner has resumed it meanwhile, and what we write would replace what it says now.
        """
        found = self._look()
        if not known(found).is_over:
            raise TargetGoneError(f"W&B run {self.tracked.id} goes on again: deliver once more when it is over.")
        return found


def _published(found: ApiRun) -> list[Audit]:
    return published.fetched(lambda: found.files(names=[guest.AUDIT_FILE]))


def _upload(found: ApiRun, files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = Path(root, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            found.upload_file(str(path), root=root)
