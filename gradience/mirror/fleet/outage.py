"""Whether a tracker answers at all, as many deliveries tell: an outage is found out once, not by each of them."""


class Outage:
    """One journal that cannot be delivered may be a matter of its own; `limit` of them in a row are the tracker's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failed: set[str] = set()
        self.failures = 0  # since the tracker's last answer
        self.why: str | None = None

    @property
    def is_suspected(self) -> bool:
        """Whether the last that was heard of the tracker is a failure."""
        return bool(self._failed)

    @property
    def is_on(self) -> bool:
        """Whether it is of no use to try another journal."""
        return len(self._failed) >= self._limit

    def failed(self, journal: str, why: str | None) -> None:
        """A journal could not be delivered, for want of an answer."""
        self._failed.add(journal)
        self.failures += 1
        self.why = why

    def answered(self) -> None:
        """The tracker took something."""
        self._failed.clear()
        self.failures = 0
        self.why = None
