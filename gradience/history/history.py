"""A run that somebody else recorded: its events, and what a journal of it has to know beside them."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

Progress = Callable[[int, int], object]  # called with the series that were fetched, and how many there are


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Its events have `ts`, `event`, `step` and their payload, and not yet a run.

    `origin` says what and where it is without credentials: the same run always has the same. A run that we recorded
    ourselves keeps its `run_id`.
    """

    origin: str
    events: Iterable[dict[str, Any]]
    run_id: str | None = None
    notes: tuple[str, ...] = ()  # what a reader has to know: times that are estimates, what was left out

    @property
    def id(self) -> str:
        """The run's id in the journal."""
        return self.run_id or str(uuid.uuid5(uuid.NAMESPACE_URL, self.origin))


class Histories(Protocol):
    """What a tracker's package offers under the entry-point group `gradience.histories`."""

    def read(self, address: str, *, tracking_uri: str | None, progress: Progress | None) -> History:
        """The run at an address of that tracker, without its name in front.

        Raises:
            InputError: there is no such run, or it cannot be read.
        """
