"""What `gradience sync` was asked for, the same for every journal of the command."""

from pathlib import Path

import msgspec

from gradience.mirror import catchup, memory
from gradience.mirror.fleet import standing
from gradience.mirror.fleet.errand import Setup
from gradience.mirror.fleet.standing import Standing
from gradience.mirror.sink import Sink
from gradience.mirror.wish import Wish
from gradience.report.plain import plain


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One tracker, and how the journals of the command are to reach it."""

    wish: Wish
    deadline_s: float | None
    from_start: bool
    state_dir: Path | None
    as_json: bool

    @property
    def label(self) -> str:
        """What the tracker is called."""
        return plain(self.wish.label)

    def sink(self) -> Sink:
        """A sink, which is used for one delivery at a time."""
        return self.wish.sink()

    def setup(self) -> Setup:
        """What a process that makes such sinks has to know."""
        return Setup(wish=self.wish, state_dir=str(self.state_dir) if self.state_dir is not None else None)

    def standing(self, path: Path) -> Standing:
        """How the tracker stands towards a journal, as far as the cursor tells.

        Raises:
            TelemetryError: the journal cannot be read.
        """
        sink = memory.recall(path, self.sink(), self.state_dir)
        return standing.towards(path, sink.name, sink.target, self.state_dir)

    def catch_up(self, path: Path) -> str:
        """What to do about a tracker that is behind."""
        return f"Catch up with: {catchup.command(path, self.wish, self.state_dir)}"
