"""A command at a terminal of its own, where a program could ask its user something; nobody answers."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

_PROGRAM: Final = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Said(msgspec.Struct, frozen=True):
    """How a command ended, and all that stood on its terminal."""

    code: int
    text: str


def run(command: list[str], env: Mapping[str, str], timeout_s: float) -> Said:
    """Run a command to its end, which has to come by itself."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=dict(env),
        timeout=timeout_s,
        start_new_session=True,
    )
    return Said(done.returncode, done.stdout + done.stderr)
