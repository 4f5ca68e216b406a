"""One thread for each caller of numpy's BLAS: on a busy machine the barriers of a threaded product cost more than it.

The setting belongs to the whole process: the first who comes makes it, and the last who leaves puts it back.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_limits: list[threadpool_limits] = []  # one for everybody inside


@contextmanager
def one_thread() -> Iterator[None]:
    """Products in the block, of any thread, keep to the thread that asks for them."""
    with _lock:
        _limits.append(threadpool_limits(1, user_api="blas") if not _limits else _limits[0])
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()
