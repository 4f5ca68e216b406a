"""Tests of `gradience_wandb.contents`, which needs no wandb."""

from collections.abc import Callable

from gradience_wandb import contents
from gradience_wandb.known import Known

from gradience.mirror.sink import Batch


def test_what_a_person_reads_is_printable(batch: Callable[..., Batch]) -> None:
    """Tags and alerts are one line each, whatever a message carries; the same words lead to the same tag again."""
    alert = {"event": "alert", "severity": "error", "code": "A\x1bB", "message": "over\n\x1b[2J"}
    found = contents.contents(batch(alert), Known())
    assert found.tags == ("gradience:A\\x1bB",)
    (notice,) = found.notices
    assert (notice.title, notice.text) == ("A\\x1bB", "error: over\\n\\x1b[2J")
