"""Regular expressions that came with a file, tried in a process of their own.

One such as `(a+)+$` can keep `re` busy for longer than anybody waits, and nothing inside a process can stop it; another
process can be ended. That costs some hundredths of a second, so what is plain text is better looked up in a table.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Sequence

_PROGRAM = """
import json, re, sys, warnings
warnings.simplefilter("ignore")
patterns, names = json.load(sys.stdin)
compiled = []
for pattern in patterns:
    try:
        compiled.append(re.compile(pattern))
    except (re.error, ArithmeticError, MemoryError, RecursionError):
        sys.exit(json.dumps(pattern))
json.dump([[i for i, one in enumerate(compiled) if one.match(name)] for name in names], sys.stdout)
"""


class BrokenError(ValueError):
    """The argument is no regular expression."""


def matches(patterns: Sequence[str], names: Collection[str], *, limit_s: float) -> dict[str, list[int]]:
    """For each name the places of the patterns that match it from its start.

    Raises:
        BrokenError: a pattern is no regular expression.
        TimeoutError: it took longer than `limit_s`, or no process could be started to try.
    """
    command = [sys.executable or "", "-I", "-S", "-c", _PROGRAM]
    given = json.dumps([patterns, list(names)])
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=limit_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TimeoutError from error
    if done.returncode and done.stderr.startswith('"'):
        raise BrokenError(json.loads(done.stderr))
    if done.returncode:
        raise TimeoutError
    return dict(zip(names, json.loads(done.stdout), strict=True))
