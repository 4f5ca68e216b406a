"""The run that the user's own `wandb.init` has live in this process, as far as one can add to it: best effort.

None of the user's rows may ever be dropped, and W&B drops a row whose step is over. So our numbers ride on the user's
next row: what comes between two of those collapses to the last values, and the tail waits for the next, or for the
end. Only where the Trainer logs, which never names a step, ours are rows of their own. Their x-axis is
`gradience/step`, and the curves of a training stand under `gradience/`, where they meet no metric of the user's.

Delivered means handed to wandb. The lossless way is a run of our own, from a process of its own.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from gradience.errors import TargetGoneError
from gradience.mirror import audits, view
from gradience.mirror.audits import Audit
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.vnext.types import RunStatus
from gradience_wandb import active, contents, guest
from gradience_wandb.contents import STEP
from gradience_wandb.faults import translated
from gradience_wandb.guest import Gift
from gradience_wandb.known import ROOT, Known

_TAKEN: Final = ("train/", "eval/")  # what the user's own tracker fills


class Attached:
    """The live run, for one `run_id`."""

    def __init__(self, live: Any, run: Run, kinds: Collection[str]) -> None:
        self._live = live
        self._kinds = kinds
        self._audit: Audit | None = None
        self._defined: set[str] = set()
        position = guest.position(_known(live), run.run_id)
        self.tracked = Tracked(id=active.path(live), url=None if live.offline else live.url, position=position)

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to wandb; the position is the last.

        Raises:
            TargetGoneError: the run was finished meanwhile.
        """
        if not self._is_live():
            raise TargetGoneError(f"W&B run {self.tracked.id} was finished in this process: deliver from another one.")
        with translated(f"Adding to W&B run {self.tracked.id}"):
            known = _known(self._live)
            given = guest.gift(batch, known, self._audit, self._kinds)
            self._log(guest.rows(batch, known))
            for notice in contents.notices(batch):
                self._live.alert(title=notice.title, text=notice.text, level=notice.level)
            self._keep(given)
        self._audit = next(reversed(audits.of(batch)), self._audit)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Nothing: the run is the user's to finish."""

    def _is_live(self) -> bool:
        return active.run() is self._live

    def _log(self, found: list[view.Row]) -> None:
        rows = [{**_named(row), STEP: row.record.event.step or 0} for row in found]
        self._define(dict.fromkeys(key for row in rows for key in row))
        if "wandb" in (self._live.config.get("report_to") or ()):  # the Trainer's callback is at work
            for row in rows:
                self._live.log(row)
        elif rows:
            self._live.log({key: value for row in rows for key, value in row.items()}, commit=False)

    def _define(self, keys: dict[str, None]) -> None:
        """Give our metrics their own x-axis, by name: a pattern of the user's would win over one of ours."""
        for key in [key for key in keys if key not in self._defined]:
            if key == STEP:
                self._live.define_metric(STEP, hidden=True, summary="none")
            else:
                self._live.define_metric(key, step_metric=STEP)
            self._defined.add(key)

    def _keep(self, given: Gift) -> None:
        live = self._live
        for name, text in given.files.items():
            path = Path(live.dir, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            live.save(str(path), base_path=live.dir, policy="now")
        live.summary.update(given.summary)
        if given.tags != tuple(live.tags or ()):
            live.tags = given.tags
        if given.notes != (live.notes or ""):
            live.notes = given.notes
        live.config.update({ROOT: given.ours}, allow_val_change=True)


def _known(live: Any) -> Known:
    told = _tree(live.summary.get(ROOT))
    return Known(
        config=live.config.as_dict(),
        told=told if isinstance(told, dict) else {},
        tags=tuple(live.tags or ()),
        notes=live.notes or "",
    )


def _tree(value: Any) -> Any:
    """W&B's own kind of mappings, as plain ones."""
    return {key: _tree(child) for key, child in value.items()} if hasattr(value, "items") else value


def _named(row: view.Row) -> dict[str, float]:
    names = {key: f"{ROOT}/{key}" if key.startswith(_TAKEN) else contents.legal(key) for key in row.values}
    return {names[key]: value for key, value in row.values.items()}
