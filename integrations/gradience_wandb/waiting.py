"""Waiting for what W&B does by itself, and tells nobody of."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], timeout_s: float, look_s: float) -> bool:
    """Whether it came to hold in time; looked at once, and then every `look_s` seconds."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(look_s)
    return True
