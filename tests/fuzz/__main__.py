"""`python -m tests.fuzz`: audit mutated adapters, compare every number, print what came of them.

The exit code is 1 when anything was found. `--keep DIR` writes the findings there; `--only N` repeats one case.
"""

import argparse
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz import case as cases
from tests.fuzz import command, fuzz
from tests.fuzz.fuzz import Judged


def main() -> int:
    """Run and print the tables."""
    options = _options()
    warnings.simplefilter("ignore")  # torch's, about the odd things that are made here on purpose
    start = time.monotonic()
    numbers = [options.only] if options.only is not None else range(options.start, options.start + options.count)
    judged = []
    for one in (command if options.command else fuzz).run(options.seed, numbers):
        judged.append(one)
        if one.finding:
            print(f"FOUND {one.case}\n      {one.finding[-1500:]}", flush=True)
            if options.keep:
                cases.write(one.case.seed, one.case.number, options.keep / f"{one.case.seed}-{one.case.number}")
        if options.only is not None:
            print(one.outcome.refusal or one.outcome.record)
    _print_tables(judged, time.monotonic() - start)
    return int(any(one.finding for one in judged))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="just this case, with its outcome")
    parser.add_argument("--command", action="store_true", help="through the command line, a process for each")
    parser.add_argument("--keep", type=Path, help="write what was found into this directory")
    return parser.parse_args()


def _print_tables(judged: list[Judged], seconds: float) -> None:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        for name in one.case.mutations or ("(none)",):
            groups[name].append(one)
    _row("mutation", "cases", "audited", "refused", "findings", "most s", "most MiB")
    for name in sorted(groups):
        _print_group(name, groups[name])
    _print_group("all", judged)
    _print_group("all that must be audited", [one for one in judged if one.case.harmless])
    print()
    kinds = Counter(fuzz.refusal_kind(one.outcome.refusal) for one in judged if one.outcome.refusal)
    for kind, count in kinds.most_common(60):
        print(f"{count:7} {kind}")
    print(f"\n{len(judged)} cases in {seconds:.0f} s")
    for what, most in (("slowest", "seconds"), ("largest", "growth_mib")):
        one = max(judged, key=lambda one: getattr(one.outcome, most))
        print(f"{what}: {one.outcome.seconds:.2f} s, {one.outcome.growth_mib:.0f} MiB, {one.case}")


def _print_group(name: str, group: list[Judged]) -> None:
    found = fuzz.outcomes(group)
    seconds, growth = _most(one.outcome.seconds for one in group), _most(one.outcome.growth_mib for one in group)
    _row(name, len(group), found["audited"], found["refused"], found["finding"], f"{seconds:.2f}", f"{growth:.0f}")


def _most(values: Iterable[float]) -> float:
    return max(values, default=0.0)


def _row(name: str, *columns: object) -> None:
    print(f"{name:44}" + "".join(f"{column:>9}" for column in columns))


if __name__ == "__main__":
    sys.exit(main())
