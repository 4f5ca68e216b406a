"""What W&B holds of a run, as far as a delivery depends on it; and what a delivery expects to read back."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gradience.mirror.sink import Position

ROOT: Final = "gradience"  # of everything that is ours in config and summary
NO_ROW: Final = -1
_OVER: Final = ("finished", "failed", "crashed", "killed")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it was read. `line` is the last journal line that has a row, which is the last step of its history."""

    line: int = NO_ROW
    config: dict[str, Any] = {}
    told: dict[str, Any] = {}  # what is ours in the summary
    keys: frozenset[str] = frozenset()  # the metrics that have values
    tags: tuple[str, ...] = ()
    notes: str = ""
    state: str | None = None  # None where nothing tells, as offline
    has_files: bool = True  # those that its last values refer to; where nothing tells, they are beside it

    @property
    def cursor(self) -> str:
        """The last position that was written beside the rows."""
        return str(self.told.get("cursor", ""))

    @property
    def position(self) -> Position | None:
        """How far the journal was delivered; None where the rows that the cursor speaks of never came."""
        found = Position.parse(self.cursor)
        return found if found is not None and found.line <= self.line else None

    @property
    def is_new(self) -> bool:
        """Whether nothing was delivered to it so far."""
        return self.line == NO_ROW and not self.cursor

    @property
    def status(self) -> str | None:
        """How the run ended, as its journal said; None while it goes on."""
        status = self.told.get("status")
        return None if status in (None, "running") else str(status)

    @property
    def is_over(self) -> bool:
        """Whether W&B itself says that it ended."""
        return self.state in _OVER

    @property
    def is_settled(self) -> bool:
        """Whether W&B knows of the end, if the journal told of one: else its last lines have to come again."""
        return self.status is None or self.is_over

    @property
    def run_id(self) -> str | None:
        """The run of ours that it was made for; None for a run of somebody else's."""
        ours = self.config.get(ROOT)
        return ours.get("run_id") if isinstance(ours, Mapping) and ours.get("created_by") == ROOT else None


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be read back before a batch counts as delivered."""

    position: Position
    row: int  # the last line that has a row
    tags: frozenset[str] = frozenset()
    configured: int | None = None  # the line of the configuration
    files: tuple[str, ...] = ()  # media of the run

    def is_met(self, known: Known) -> bool:
        """Whether a run holds all of it, but for the files."""
        ours = known.config.get(ROOT)
        line = ours.get("configured") if isinstance(ours, Mapping) else None
        return (
            known.line >= self.row
            and known.cursor == str(self.position)
            and self.tags <= set(known.tags)
            and self.configured in (None, line)
        )
