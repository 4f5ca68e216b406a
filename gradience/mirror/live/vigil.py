"""When a live drain waits, hurries and leaves: by its recorder's presence, its own progress, and what it was told."""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from gradience.errors import TelemetryError
from gradience.mirror.live import presence
from gradience.mirror.live.presence import Presence
from gradience.mirror.live.spec import Spec
from gradience.mirror.pace import Pace
from gradience.vnext import runs, state

_SLICE_S: Final = 0.25  # a recorder that ends is noticed within this
_HURRY_S: Final = 0.05


class Vigil:
    """The clock of one live drain; made and used in one thread, told to `leave` from any.

    `heard` is called whenever the drain shows that it does not hang. `idle_since` is when, on the monotonic clock,
    there was neither a recorder nor progress any more; None while there is.
    """

    def __init__(self, spec: Spec, heard: Callable[[], object] = lambda: None) -> None:
        self._journal = spec.path
        self._lock = state.folder(spec.path, spec.state) / state.RECORDER_LOCK
        self._recorder = spec.recorder
        self._terms = spec.terms
        self._tempo = spec.wish.tempo(spec.terms.poll_s)
        self._heard = heard
        self._gone_since: float | None = spec.idle_since
        self._told_at: float | None = None
        self._amiss_since: float | None = None
        self._gone_at_end = self._hurry = False
        self.idle_since = spec.idle_since

    @property
    def pace(self) -> Pace:
        """For a drain that this vigil governs."""
        return Pace(**msgspec.structs.asdict(self._tempo), stop=self.stop, follow=self.follow, sleep=self.sleep)

    @property
    def told(self) -> bool:
        """Whether it was told to leave."""
        return self._told_at is not None

    def leave(self) -> None:
        """Deliver what is there, for a bounded time, and wait for no more."""
        self._told_at = self._told_at or time.monotonic()

    def look(self) -> Presence:
        """How the recorder stands now."""
        self._heard()
        now = presence.look(self._lock, self._recorder)
        if now is Presence.GONE:
            self._gone_since = self._gone_since or time.monotonic()
            self.idle_since = self.idle_since or time.monotonic()
        else:
            self._gone_since = self.idle_since = None
        return now

    def progressed(self) -> None:
        """Lines were passed."""
        self._heard()
        self.idle_since = self._amiss_since = None

    def stop(self) -> bool:
        """Whether to leave lines undelivered: to another recorder's drain, or because patience is over."""
        if self.look() is Presence.REPLACED:
            return True
        over = ((self.idle_since, self._terms.linger_s), (self._told_at, self._terms.leave_s))
        return any(since is not None and time.monotonic() - since >= bound for since, bound in over)

    def follow(self) -> bool:
        """Whether more lines may come after the end of the file, which was just reached.

        A last line may be written between that and a look at the recorder: only when it was gone at the end before,
        nothing can be missed.
        """
        self._amiss_since = None
        gone_before, self._gone_at_end = self._gone_at_end, self.look() is Presence.GONE
        self._hurry = self._gone_at_end and not gone_before
        if self.told:
            return False
        return not (gone_before and self._gone_at_end and (self.is_ended() or self._grace_is_over()))

    def awaits_mending(self, *, for_ever: bool) -> bool:
        """Whether a journal in which something is amiss is the recorder's to mend, for a bounded time unless told."""
        self._amiss_since = self._amiss_since or time.monotonic()
        is_over = not for_ever and time.monotonic() - self._amiss_since >= self._terms.mend_s
        return not (is_over or self.told or self.stop()) and self.look() is Presence.AT_WORK

    def sleep(self, seconds: float) -> None:
        """Wait; less when the recorder goes meanwhile, so that what it left is tried at once."""
        until = time.monotonic() + (_HURRY_S if self._hurry else seconds)
        self._hurry = False
        was_gone = self._gone_since is not None
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
            if self.told or (self.look() is Presence.GONE and not was_gone):
                return

    def is_ended(self) -> bool:
        """Whether the journal's last run came to an end of its own."""
        try:
            last = runs.last(self._journal)
            return last is None or runs.status(self._journal, last.run_id) is not None
        except TelemetryError:
            return False

    def _grace_is_over(self) -> bool:
        return self._gone_since is not None and time.monotonic() - self._gone_since >= self._terms.grace_s
