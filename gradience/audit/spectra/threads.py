"""How many workers a machine is good for."""

import os

_BOUND = "OMP_NUM_THREADS"  # what every numerical library obeys, so that somebody who starts many processes sets it


def cpus() -> int:
    """The CPUs that this process may use, and no more than `OMP_NUM_THREADS` says."""
    bound = os.environ.get(_BOUND, "").partition(",")[0].strip()
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, int(bound))) if bound.isdecimal() else count
