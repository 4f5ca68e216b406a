"""How many workers a machine is good for, and how the caller's own setting survives them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def workers(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute with one thread each; torch makes that the default of new threads too, so it is put back."""
    import torch  # of all measuring, only that of a base model is in its hands

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, name, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)
