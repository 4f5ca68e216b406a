import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import subprocess, sys
from gradience import child_process
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
child_process.end_children()
print(child.wait(20))
"""


@pytest.mark.skipif(not Path("/proc/thread-self/children").exists(), reason="the system does not tell")
def test_a_process_that_ends_itself_leaves_nothing_that_it_started() -> None:
    """Also what has a session of its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "-9\n"
