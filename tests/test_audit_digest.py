"""The adapter's identity."""

import os
import time
from pathlib import Path

import pytest
from blake3 import blake3

from gradience.audit.disk import digest
from gradience.audit.disk.folder import Files
from gradience.errors import AdapterError


def test_it_is_the_hash_of_weights_then_config(tmp_path: Path) -> None:
    """Anyone can check it with `b3sum`, and it does not depend on where the files lie."""
    weights, config = tmp_path / "w", tmp_path / "c"
    weights.write_bytes(bytes(range(256)) * 10_000)
    config.write_bytes(b"{}")
    expected = blake3(weights.read_bytes() + b"{}").hexdigest()
    assert digest.of(Files("anywhere", config, weights)) == f"blake3:{expected}"


def test_a_file_that_went_away_is_refused(tmp_path: Path) -> None:
    """One line that names the adapter."""
    with pytest.raises(AdapterError, match="cannot audit it: it cannot be read"):
        digest.of(Files("it", tmp_path / "c", tmp_path / "w"))


def test_unchanged_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks into the cache and then audits does not pay twice; any write since then is seen."""
    weights, config = tmp_path / "w", tmp_path / "c"
    weights.write_bytes(b"weights")
    config.write_bytes(b"{}")
    later = max(path.stat().st_ctime_ns for path in (weights, config)) + digest._SETTLED_NS + 1
    monkeypatch.setattr(time, "time_ns", lambda: later)
    first = digest.of(Files("anywhere", config, weights))
    monkeypatch.setattr(digest, "_feed", lambda *_: pytest.fail("it was read again"))
    assert digest.of(Files("anywhere", config, weights)) == first
    monkeypatch.undo()
    weights.write_bytes(b"changed")
    os.utime(weights, ns=(0, 0))
    assert digest.of(Files("anywhere", config, weights)) != first
