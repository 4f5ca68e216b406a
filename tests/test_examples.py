"""Every example runs, or says in a test of its own what it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gradience.vnext.telemetry_reader import TelemetryReader

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "examples" / "vnext").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_says_how_to_run_it(example: str) -> None:
    """The first thing in an example is what it shows and the command that runs it."""
    docstring = ast.get_docstring(ast.parse((ROOT / example).read_text(encoding="utf-8")))
    assert docstring is not None
    assert f"python {example} " in docstring


def test_a_plain_loop_is_recorded(tmp_path: Path) -> None:
    """The recorder needs no framework: the example's last loss is in the file, and the run ended well."""
    journal = tmp_path / "plain.jsonl"
    subprocess.run([sys.executable, ROOT / "examples/vnext/plain_loop.py", journal], check=True, cwd=tmp_path)
    summary = TelemetryReader(journal).summarize()
    assert summary.train is not None
    assert summary.train.loss == pytest.approx(0.0, abs=1e-3)
    assert summary.status == "ok"
