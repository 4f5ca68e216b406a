"""What `gradience verify` leaves on tracked runs: a real MLflow server, and W&B offline, read back from its files."""

import json
import shlex
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gradience_mlflow import MLflowSink
from gradience_wandb import WandbSink

from gradience.cli.main import group
from gradience.mirror.sink import Batch, Run
from gradience.mirror.verified import Verified
from gradience.testing import samples
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations import wandb_files

pytest.importorskip("mlflow")
pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

MakeBatch = Callable[..., Batch]
SaveAdapter = Callable[..., Path]
A, B = "blake3:a", "blake3:b"


def _advice(adapter: str, step: int) -> dict[str, Any]:
    said = {"verdict": "review", "codes": ["over_provisioned"], "verified": "no", "adapter": adapter}
    return {"event": "recommendation", "step": step, "recommendations": [], **said}


def _verification(adapter: str, outcome: str, step: int) -> dict[str, Any]:
    about = {"adapter": {**samples.VERIFICATION["adapter"], "fingerprint": adapter}, "verified": outcome}
    return {"event": "metrics", "kind": "verification", "step": step, "metrics": {**samples.VERIFICATION, **about}}


@pytest.fixture
def adapters(tmp_path: Path, save_adapter: SaveAdapter) -> tuple[Path, Path]:
    """An original in the folder of its recorded and audited run, and its compressed form."""
    original = save_adapter(tmp_path / "out")
    with TelemetryWriter(original / "run.jsonl", str(uuid.uuid4())) as writer:  # one server serves all tests
        writer.run_start({"lora": {"r": 16}})
        for step in range(1, 31):
            writer.train_step(step, loss=1.0 / step)
    audit = ["audit", "--peft-dir", str(original), "--append", str(original / "run.jsonl")]
    assert CliRunner().invoke(group, audit).exit_code == 0
    return original, save_adapter(tmp_path / "small", r=4)


def test_the_tracked_run_tells_how_the_test_went(adapters: tuple[Path, Path], server: str, tmp_path: Path) -> None:
    """The verdict, the suggestion and whether it stood its test are tags of one MLflow run; the numbers are metrics."""
    from mlflow import MlflowClient

    original, small = adapters
    script = tmp_path / "evaluate.py"
    script.write_text("import sys; print('{\"accuracy\": %s, \"n\": 9999}' % (0.9 if 'out' in sys.argv[1] else 0.898))")
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{adapter}}"
    given = ["verify", "--original", str(original), "--compressed", str(small), "--command", command, "--json"]
    done = CliRunner().invoke(group, [*given, "--log-to", "mlflow", "--tracking-uri", server, "--strict"])
    assert done.exit_code == 0, done.stderr
    (tracker,) = json.loads(done.stdout)["trackers"]
    found = MlflowClient(server).get_run(tracker["tracked"]["id"]).data
    told = {key: found.tags[f"gradience.{key}"] for key in ("verdict", "codes", "suggested_rank", "verified")}
    assert told == {"verdict": "review", "codes": "over_provisioned", "suggested_rank": "4", "verified": "pass"}
    assert found.tags["gradience.verified_rank"] == "4"
    assert found.metrics["lora_audit/verified_delta"] == pytest.approx(-0.002)
    assert found.metrics["verification/original"] == 0.9


def test_what_was_verified_stays_in_mlflow(store_uri: str, run: Run, batch: MakeBatch) -> None:
    """Under advice that comes again, also by a journal that knows nothing of it; older checkpoints change nothing."""
    from mlflow import MlflowClient

    def after(*events: dict[str, Any], **history: Any) -> str:
        sink = MLflowSink(tracking_uri=store_uri)
        tracked = sink.open(run)
        sink.deliver(batch(*events, **history))
        sink.close(None, 5)
        return str(MlflowClient(store_uri).get_run(tracked.id).data.tags["gradience.verified"])

    assert after(_advice(A, 500)) == "no"
    assert after(_verification(A, "pass", 500), first=2, advised=500) == "pass"
    assert after(_advice(A, 500)) == "pass"
    assert after(_verification(B, "fail", 100)) == "pass"
    assert after(_advice(B, 100)) == "pass"
    assert after(_verification(A, "fail", 500)) == "fail"
    assert after(_advice(B, 600)) == "no"


def test_what_was_verified_is_a_tag_and_in_the_summary_of_wandb(wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """One tag of the two, whichever stands; the numbers are of the line's own row."""
    sink = WandbSink()
    sink.open(run)
    passed = Verified(adapter=A, outcome="pass", rank=4)
    sink.deliver(batch(_advice(A, 500), _verification(A, "pass", 500)))
    first = wandb_files.read(wandb_home)
    sink.deliver(batch(_verification(A, "fail", 500), first=3, advised=500, verified={A: passed}))
    sink.close(None, 10)
    found = wandb_files.read(wandb_home)
    assert {"gradience:verified_pass", "gradience:review"} <= set(first.tags)
    assert {tag for tag in found.tags if "verified" in tag} == {"gradience:verified_fail"}
    assert (first.summary["gradience"]["verified"], found.summary["gradience"]["verified"]) == ("pass", "fail")
    assert found.summary["gradience"]["verified_rank"] == "4"
    assert found.values("lora_audit/verified_delta") == {2: -0.01, 3: -0.01}
