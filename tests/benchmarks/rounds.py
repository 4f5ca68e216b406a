"""Methods timed in turn, so that a busy moment of the machine hits all of them."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds of one method: the median and the least of its rounds on the clock, and the median of CPU time."""

    median: float
    least: float
    cpu: float


def interleaved(methods: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Each method once to warm up, then all of them once per round."""
    for method in methods.values():
        method()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            taken[name].append(_clock(method))
    return {name: _timing(rows) for name, rows in taken.items()}


def ratio(one: Timing, other: Timing) -> str:
    """How many times as long `one` takes: by medians, by the least of each, and in CPU time."""
    return f"{one.median / other.median:.2f}x  (least {one.least / other.least:.2f}x, CPU {one.cpu / other.cpu:.2f}x)"


def _clock(method: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), _cpu()
    method()
    return time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    """Of this process and of those that it started and saw end."""
    return sum(os.times()[:4])


def _timing(rows: list[tuple[float, float]]) -> Timing:
    walls, cpus = zip(*rows, strict=True)
    return Timing(statistics.median(walls), min(walls), statistics.median(cpus))
