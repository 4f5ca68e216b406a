"""Train, audit and score: `python -m tests.benchmarks.rank_advice [--seeds N] [--jobs N] [--keep FILE]`, from the root.

Each adapter takes some 10 seconds on one core. Outcomes are kept in a file, one line each; what is there is not done
again, so that a benchmark that was interrupted goes on where it was.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec

from tests.benchmarks.rank_advice import scoring
from tests.benchmarks.rank_advice.experiment import Outcome, jobs, run

RESULTS = Path(__file__).with_name("results.jsonl")


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="worlds, each with its own base model (3)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--keep", type=Path, default=RESULTS, help="the file of outcomes")
    given = parser.parse_args()
    outcomes = collect(given.keep, given.seeds, given.jobs)
    for title, table in TABLES.items():
        print(f"\n{title}\n", *table(outcomes), sep="\n")


def collect(file: Path, seeds: int, processes: int) -> list[Outcome]:
    """The outcomes of the whole grid, those that `file` has and those that are missing there."""
    wanted = list(jobs(seeds))
    done = {one.job: one for one in read(file)}
    missing = [job for job in wanted if job not in done]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool, file.open("ab") as kept:
        for count, future in enumerate(as_completed([pool.submit(run, job) for job in missing]), start=1):
            outcome = future.result()
            done[outcome.job] = outcome
            kept.write(msgspec.json.encode(outcome) + b"\n")
            kept.flush()
            print(f"\r{count} of {len(missing)} adapters", end="", file=sys.stderr, flush=True)
    return [done[job] for job in wanted]


def read(file: Path) -> list[Outcome]:
    """What a file of outcomes holds."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [msgspec.json.decode(line, type=Outcome) for line in lines]


TABLES = {
    "Alarms": scoring.alarms,
    "Held-out cost of following a rule, in points of the way from the base to the teacher": scoring.costs,
    "Compressed from the largest rank / trained at that rank": scoring.directly,
}

if __name__ == "__main__":
    main()
