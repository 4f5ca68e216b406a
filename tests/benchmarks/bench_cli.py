"""What `gradience --help` costs beside `python -c "import click"`: interleaved runs, medians of wall-clock time.

Run it as a program: `python tests/benchmarks/bench_cli.py`. Exits with 1 when help costs more than five times as much.
"""

import subprocess
import sys
import time
from statistics import median

ROUNDS = 15
LIMIT = 5.0
COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "gradience --help": [sys.executable, "-m", "gradience", "--help"],
    "gradience check --lr 1e-4": [sys.executable, "-m", "gradience", "check", "--lr", "1e-4"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock time of one run."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds by name; the commands take turns, so that a busy moment hits all of them."""
    for command in COMMANDS.values():
        seconds(command)  # byte code and file cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    return {name: median(values) for name, values in times.items()}


def main() -> int:
    """Print the comparison."""
    medians = measure()
    base = medians["import click"]
    for name, value in medians.items():
        print(f"{name:<28} {value * 1e3:7.1f} ms  {value / base:5.2f}x")
    ratio = medians["gradience --help"] / base
    print(f"help costs {ratio:.2f}x of importing click (limit {LIMIT:.0f}x)")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
