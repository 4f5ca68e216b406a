"""A logger that a callback puts behind those of the Trainer: it hears what all of them hear, at the same moments."""

from collections.abc import Callable, Mapping
from typing import Any

from gradience_lightning.library import DummyLogger


class Listener(DummyLogger):  # type: ignore[misc]
    """Hands on what is logged.

    A module may ask for `self.logger.experiment`, which is ours where the Trainer has no other: everything that is
    called there does nothing, as with Lightning's own dummy.
    """

    def __init__(self, hear: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._hear = hear

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """What was logged. `step` counts from 0; that of a journal is the number of steps taken."""
        self._hear(metrics)
