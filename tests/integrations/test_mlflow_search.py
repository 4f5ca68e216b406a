"""The manual's searches for advice, in a real MLflow store."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")
MANUAL: Final = Path(__file__).parents[2] / "docs" / "USER_MANUAL.md"


@pytest.mark.slow
def test_the_manuals_searches_find_the_adapters_that_could_shrink(
    store_uri: str, client: "MlflowClient", tmp_path: Path, save_adapter: Callable[..., Path]
) -> None:
    """Each of them finds the ample adapter, and not the one that needs its rank nor the one without advice."""
    places = (save_adapter(tmp_path / "ample"), save_adapter(tmp_path / "full", needed=16))
    unknown = save_adapter(tmp_path / "random-start", init_lora_weights=False)
    asked = [part for place in (*places, unknown) for part in ("--peft-dir", str(place))]
    command = [sys.executable, "-m", "gradience", "audit", *asked, "--log-to", "mlflow"]
    environ = {**os.environ, "MLFLOW_TRACKING_URI": store_uri}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True)
    verdicts = {run.info.run_id: run.data.tags["gradience.verdict"] for run in client.search_runs(["0"])}
    assert sorted(verdicts.values()) == ["abstain", "ok", "review"]
    searches = re.findall(r"^tags\.`gradience\..*$", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(searches) >= 3
    for search in searches:
        assert [verdicts[run.info.run_id] for run in client.search_runs(["0"], search)] == ["review"], search
