"""What a live drain is told when it starts: for which journal, into which tracker, on whose behalf."""

from pathlib import Path

import msgspec

from gradience.mirror.wish import Wish


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The patience of a live drain, in seconds."""

    poll_s: float = 1.0  # the end of the file is looked at this often
    grace_s: float = 2.0  # a recorder that is gone may be back: another cell, a trainer that was restarted
    linger_s: float = 600.0  # without a recorder and without progress
    leave_s: float = 10.0  # to deliver what is there, once told to leave
    mend_s: float = 60.0  # for a recorder to see, with its next line, that its file was replaced, and to complete it
    call_s: float = 120.0  # for one call of the sink: importing a tracker from a cold network disk takes a minute


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One live drain."""

    journal: str  # absolute path
    wish: Wish
    state_dir: str | None = None
    recorder: int  # the pid of the process that records
    terms: Terms = Terms()
    idle_since: float | None = None  # on the monotonic clock: for a drain that began in an earlier process image

    @property
    def path(self) -> Path:
        """The journal."""
        return Path(self.journal)

    @property
    def state(self) -> Path | None:
        """Where its state is kept, if not in the usual place."""
        return Path(self.state_dir) if self.state_dir is not None else None
