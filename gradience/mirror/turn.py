"""One drain of a journal at a time for each tracker: the turn is a lock beside the cursors."""

import logging
from contextlib import ExitStack

from gradience.mirror.cursor import CursorFile
from gradience.vnext import lock

log = logging.getLogger("gradience.mirror")


def take(store: CursorFile, stack: ExitStack) -> bool:
    """Take the tracker's turn for as long as the stack is open; False while another drain has it."""
    try:
        stack.callback(lock.acquire(store.lock).release)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("Cannot lock %s (%s): make sure that nothing else delivers to this target.", store.lock, error)
    return True
