"""The auditor beside what it is compared to: reading the file, importing torch, the public method, a neighbour, an SVD.

`python -m tests.benchmarks.bench_audit [--fast]`, from the root. It writes its adapters, 2 GB, to a temporary folder.
Ratios are of medians of interleaved rounds; beside them those of the least and of CPU time, which others on the machine
disturb less. The exit code is 1 when a bar is missed.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from gradience.audit import audit
from tests.benchmarks import public_method, synthetic
from tests.benchmarks.rounds import Timing, interleaved, ratio
from tests.benchmarks.synthetic import LLAMA_8B, LLAMA_70B, TINY, Shape

TINY_BAR = 1.1  # times `python -c "import torch"`, for the whole program
FLOOR_BAR = 5.0  # times reading the file
MEMORY_BAR_MIB = 80  # over the imports

OURS, FLOOR, THEIRS, THEIRS_1 = "gradience.audit", "pread, as float64", "public method", "public method, 1 thread"


class Case(NamedTuple):
    """One adapter: how often it is measured, and how many times as long the public method must take."""

    name: str
    shape: Shape
    rounds: int
    bar: float


def main() -> int:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fast", action="store_true", help="fewer rounds, and nothing of 70B")
    fast = arguments.parse_args().fast
    cases = [
        Case("8B shape, r=16", LLAMA_8B, 5 if fast else 11, 6.0),
        Case("8B shape, r=64", LLAMA_8B._replace(r=64), 2 if fast else 5, 8.0),
        *([] if fast else [Case("70B shape, r=64", LLAMA_70B, 2, 8.0)]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        tiny = synthetic.write(Path(folder) / "tiny", TINY)
        held = [compare_start(tiny, rounds=5 if fast else 15)]
        held += [compare(case, synthetic.write(Path(folder) / case.name, case.shape), tiny) for case in cases]
    extrapolate_dense()
    return 0 if all(held) else 1


def compare_start(tiny: Path, rounds: int) -> bool:
    """The whole program on an adapter of some kilobytes beside the import that it used to begin with."""
    headline("tiny, the whole program", TINY, tiny)
    timings = interleaved({**programs(tiny), "import torch": partial(run, "-c", "import torch")}, rounds)
    table(timings)
    ours, torch_import = timings["gradience audit"], timings["import torch"]
    return verdict(f"of import torch: {ratio(ours, torch_import)}", ours.median / torch_import.median, most=TINY_BAR)


def compare(case: Case, adapter: Path, tiny: Path) -> bool:
    """Measuring in a process that has imported everything, the whole program, and its memory."""
    headline(case.name, case.shape, adapter)
    timings = interleaved(methods(adapter), case.rounds)
    if case.shape.blocks == LLAMA_8B.blocks:  # of 70B, one of the two is waiting enough
        threaded = partial(theirs, adapter, threads=torch.get_num_threads())
        timings |= interleaved({THEIRS: threaded}, 1)
    table(timings)
    public = min((timings[name] for name in (THEIRS, THEIRS_1) if name in timings), key=lambda timing: timing.median)
    audited, floor = timings[OURS], timings[FLOOR]
    held = [
        verdict(
            f"faster than the public method: {ratio(public, audited)}", public.median / audited.median, least=case.bar
        ),
        verdict(f"of reading the file: {ratio(audited, floor)}", audited.median / floor.median, most=FLOOR_BAR)
        if case.shape.r == LLAMA_8B.r
        else True,
    ]
    growth = peak_growth_mib(adapter, tiny)
    held.append(verdict(f"peak memory over imports: {growth:.1f} MiB", growth, most=MEMORY_BAR_MIB))
    table(interleaved(programs(adapter), min(case.rounds, 3)))
    return all(held)


def methods(adapter: Path) -> dict[str, Callable[[], object]]:
    """What takes turns in this process.

    The public release leaves torch its threads; a busy machine punishes that ten times over, so it runs apart, once.
    """
    return {
        OURS: partial(ours, adapter),
        FLOOR: partial(read_as_float64, adapter),
        THEIRS_1: partial(theirs, adapter, threads=1),
    }


def ours(adapter: Path) -> None:
    """An audit that has to hash the files: within a process they are hashed once."""
    os.utime(adapter / "adapter_config.json")
    audit(adapter)


def theirs(adapter: Path, threads: int) -> None:
    """The public method with so many threads for each product."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    public_method.audit(adapter)
    torch.set_num_threads(before)


def read_as_float64(adapter: Path) -> None:
    """The floor: every byte into one buffer, and every number looked at as float64, in pieces that fit a cache."""
    torch.set_num_threads(1)
    buffer = torch.empty(1 << 16, dtype=torch.bfloat16)
    numbers, wide = memoryview(buffer.view(torch.int16).numpy().data).cast("B"), torch.empty(len(buffer)).double()
    with synthetic.weights(adapter).open("rb", buffering=0) as file:
        while count := file.readinto(numbers):
            wide[: count // 2].copy_(buffer[: count // 2]).sum()


def programs(adapter: Path) -> dict[str, Callable[[], object]]:
    """Whole processes: ours, and the fastest neighbour where it is installed (`pip install adaptersentry`)."""
    found: dict[str, Callable[[], object]] = {
        "gradience audit": partial(run, "-m", "gradience", "audit", "--peft-dir", str(adapter))
    }
    if importlib.util.find_spec("adaptersentry"):
        found["adaptersentry scan"] = partial(run, "-m", "adaptersentry", "scan", str(synthetic.weights(adapter)))
    return found


def run(*arguments: str) -> None:
    """Run Python; a finding of the neighbour is no failure of the benchmark."""
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


PEAK = """
import sys
from pathlib import Path
from gradience.audit import audit
def peak(): return int(next(l for l in Path("/proc/self/status").open() if l.startswith("VmHWM:")).split()[1]) / 1024
audit(sys.argv[1])  # imports everything
before = peak()
audit(sys.argv[2])
print(peak() - before)
"""


def peak_growth_mib(adapter: Path, tiny: Path) -> float:
    """How far an audit raises the peak of a fresh process that has imported everything. Linux only."""
    command = [sys.executable, "-c", PEAK, str(tiny), str(adapter)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def extrapolate_dense() -> None:
    """What forming the update of each module and taking its SVD would cost: m·n·min(m, n), from one module."""
    side = 4096
    matrix = torch.randn(side, side)
    seconds = interleaved({"dense": lambda: torch.linalg.svdvals(matrix)}, 1)["dense"].median
    work = sum(a * b * min(a, b) for a, b in LLAMA_8B.layers.values()) * LLAMA_8B.blocks / side**3
    print(f"\ndense float32 svdvals of one {side} x {side} update: {seconds:.1f} s; by its operation count that is")
    print(f"  {seconds * work / 60:.0f} minutes for the 8B shape at any rank (extrapolated from the one, not run)")


def headline(name: str, shape: Shape, adapter: Path) -> None:
    """What is measured."""
    size = synthetic.weights(adapter).stat().st_size
    print(f"\n{name}: {synthetic.modules(shape)} modules, bf16, {size / 1e6:,.2f} MB", flush=True)


def table(timings: Mapping[str, Timing]) -> None:
    """One line each."""
    for name, (median, least, cpu) in timings.items():
        print(
            f"  {name:<26}{median * 1e3:10.1f} ms   least{least * 1e3:10.1f} ms   CPU{cpu * 1e3:10.1f} ms", flush=True
        )
    if "gradience audit" in timings and "adaptersentry scan" not in timings:
        print("  adaptersentry scan         not installed")


def verdict(text: str, value: float, *, least: float = 0, most: float = float("inf")) -> bool:
    """Print it beside its bar; whether it holds."""
    held = least <= value <= most
    bar = f"at least {least:g}" if least else f"at most {most:g}"
    print(f"  {'holds ' if held else 'MISSED'} {text} (bar: {bar})", flush=True)
    return held


if __name__ == "__main__":
    sys.exit(main())
