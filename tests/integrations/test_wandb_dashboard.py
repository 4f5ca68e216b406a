"""The dashboard of W&B: its panels show what our sink writes, it loads back, and it is saved once to a project."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gradience_wandb import panels

from gradience.audit.record import AuditRecord
from gradience.cli.main import group
from gradience.mirror.sink import Batch, Run
from gradience.policy import audit_event
from gradience.policy.advice import advise
from tests.integrations import wandb_files
from tests.integrations.wandb_double import faults
from tests.integrations.wandb_double.held import TrackedRun
from tests.integrations.wandb_double.server import Server, serving

pytest.importorskip("wandb_workspaces")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own
MakeBatch = Callable[..., Batch]
SPECTRUM = [3, 1, 0.1, 0.01, 0, 0, 0, 0]


def _dashboard(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["dashboard", "wandb", *map(str, arguments)])


def _whole_run(make_record: Callable[..., AuditRecord]) -> list[dict[str, Any]]:
    """A line of every kind that our sink has a name for."""
    names = ("self_attn.q_proj", "mlp.up_proj", "embed_tokens", "proj")
    record = make_record({f"layers.0.{name}": SPECTRUM for name in names})
    advice = advise(record)
    return [
        {"event": "run_start", "config": {"lora": {"r": 8}}},
        {"event": "train_step", "step": 1, "loss": 1.0, "lr": 0.1, "grad_norm": 2.0},
        {"event": "train_step", "step": 2, "loss": 1.0, "lr": [0.1, 0.2]},
        {"event": "eval", "step": 2, "split": "val", "metrics": {"loss": 1.0, "ppl": 2.7, "accuracy": 0.5, "f1": 0.5}},
        *(
            {"event": "alert", "severity": severity, "code": "x", "message": "x"}
            for severity in ("info", "warning", "error", "critical")
        ),
        {"event": "metrics", "step": 2, "kind": "lora_audit", "metrics": audit_event.metrics(record, advice)},
        {"event": "recommendation", "step": 2, **audit_event.recommendation(record, advice)},
        {"event": "run_end", "status": "ok"},
    ]


def test_every_panel_shows_what_the_sink_writes(
    wandb_home: Path, run: Run, batch: MakeBatch, make_record: Callable[..., AuditRecord]
) -> None:
    """Each pattern finds a metric of a real offline run, and the alternatives in it one each; each key is there."""
    from gradience_wandb import WandbSink

    sink = WandbSink(project="p")
    sink.open(run)
    sink.deliver(batch(*_whole_run(make_record)))
    sink.close(None, 30)
    found = wandb_files.read(wandb_home)
    written = {*found.summary, *(key for rows in found.rows.values() for row in rows for key in row)}
    assert panels.X_AXIS in written
    for panel in [panel for section in panels.SECTIONS for panel in section.panels]:
        keys = {f"{key}._type" if panel.kind == "table" else key for key in panel.keys}  # a table has parts
        assert keys <= written, panel.title
        for pattern in _alternatives(panel.pattern) if panel.pattern else []:
            assert any(re.fullmatch(pattern, key) for key in written), pattern
    for column in panels.COLUMNS:
        top, _, leaf = column.removeprefix("summary:").partition(".")
        assert top in found.summary
        assert not leaf or leaf in found.summary[top]


def _alternatives(pattern: str) -> Iterator[str]:
    """A pattern for each word of a list like (attn|mlp)."""
    listed = re.search(r"(?<!\?!)\((\w+(?:\|\w+)+)\)", pattern)
    for word in listed[1].split("|") if listed else [""]:
        yield pattern.replace(listed[0], word) if listed else pattern


def test_a_pattern_finds_our_curves_in_a_run_that_was_joined() -> None:
    """There they stand under a prefix; and nothing of the user's own is taken for ours."""
    loss = panels.SECTIONS[0].panels[0].pattern
    assert [
        bool(re.search(loss, key)) for key in ("train/loss", "gradience/train/loss", "train/loss_2", "x/train/loss")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_the_specification_loads_back(tmp_path: Path, wandb_home: Path) -> None:  # noqa: ARG001 - an environment
    """As wandb-workspaces reads it, with every section and panel; offline it is written by itself."""
    from gradience_wandb import workspace

    file = tmp_path / "spec.json"
    result = _dashboard("--project", "p", "--entity", "me", "--out", file)
    assert (result.exit_code, result.stdout) == (0, f"Wrote the dashboard's specification to {file}.\n")
    found = workspace.loaded(json.loads(file.read_text()))
    assert (found.entity, found.project, found.name, found.auto_generate_panels) == ("me", "p", "Gradience", False)
    assert [(section.name, len(section.panels)) for section in found.sections] == [
        (section.name, len(section.panels)) for section in panels.SECTIONS
    ]
    drawn: list[Any] = [panel for section in found.sections for panel in section.panels]
    told = [(panel.title, panel.metric_regex) for panel in drawn if type(panel).__name__ == "LinePlot"]
    meant = [(panel.title, panel.pattern) for section in panels.SECTIONS for panel in section.panels if panel.pattern]
    assert told == meant
    with CliRunner().isolated_filesystem(tmp_path):
        assert json.loads(_dashboard("--json").stdout)["spec"] == "gradience-dashboard.json"


@pytest.fixture
def server(wandb_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with one run, as the environment says."""
    with serving() as made:
        for key, value in made.env(wandb_home).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        made.held.put(TrackedRun(entity="me", project="p", id="r", created=0))
        yield made


def test_saving_again_replaces_the_view(server: Server) -> None:
    """It has one place in a project, whose address is printed; the entity is that of whoever is logged in."""
    first, second = _dashboard("--project", "p"), _dashboard("--project", "p")
    assert (first.exit_code, first.stdout) == (0, f"Saved the dashboard: {server.address}/me/p?nw=gradience\n")
    assert second.stdout == first.stdout
    (view,) = server.held.views
    assert (view.entity, view.project, view.title) == ("me", "p", "Gradience")
    assert "Adapter spectrum" in view.spec


def test_what_was_saved_can_be_read_by_a_program(server: Server) -> None:
    """`--json` prints one document with the address; what the server holds is what `--out` writes."""
    told = json.loads(_dashboard("--project", "p", "--json").stdout)
    url = f"{server.address}/me/p?nw=gradience"
    assert told == {"schema": "gradience.dashboard/v1", "tracker": "wandb", "url": url}
    (view,) = server.held.views
    with CliRunner().isolated_filesystem():
        assert _dashboard("--project", "p", "--out", "x.json").exit_code == 0
        written = json.loads(Path("x.json").read_text())["spec"]
    assert _anonymous(written) == _anonymous(json.loads(view.spec))


def _anonymous(spec: Any) -> Any:
    """Without the ids that wandb-workspaces draws for each panel."""
    if isinstance(spec, list):
        return [_anonymous(part) for part in spec]
    if isinstance(spec, dict):
        return {key: _anonymous(part) for key, part in spec.items() if key not in ("id", "__id__")}
    return spec


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [([], 1, "give --project"), (["--project", "gone"], 1, "not found"), (["--project", "p"], 4, "W&B")],
)
def test_what_cannot_be_saved_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    """No project, one that is not there, or a server that does not answer."""
    from gradience_wandb import workspace

    if code == 4:
        monkeypatch.setattr(workspace, "SAVE_S", 5.0)
        server.faults.set(faults.CLOSE)
    assert said in _refused(server, *arguments, code=code)


def test_a_project_of_others_is_not_ours_to_change(server: Server) -> None:
    """Who may look and not write is told so by the server."""
    server.faults.set(faults.status(403), "UpsertView2")
    assert "403" in _refused(server, "--project", "p", code=1)


def test_nobody_who_is_logged_in_is_told_how(server: Server) -> None:
    """Nothing asks for a key that nobody is there to type; wandb remembers a login for as long as its process lives."""
    own = {key: value for key, value in os.environ.items() if key != "WANDB_API_KEY"}
    command = [sys.executable, "-m", "gradience", "dashboard", "wandb", "--project", "p"]
    done = subprocess.run(command, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "run `wandb login`" in done.stderr
    assert server.asked == []


def _refused(server: Server, *arguments: str, code: int) -> str:
    """The one line that is said, with nothing saved."""
    result = _dashboard(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1), result.stderr
    assert server.held.views == []
    return result.stderr


def test_without_its_library_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is asked or written."""
    import gradience_wandb

    monkeypatch.delitem(sys.modules, "gradience_wandb.workspace", raising=False)
    monkeypatch.delattr(gradience_wandb, "workspace", raising=False)
    for name in ("wandb_workspaces", "wandb_workspaces.workspaces"):
        monkeypatch.setitem(sys.modules, name, None)
    result = _dashboard("--out", tmp_path / "x.json")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "in a checkout: pip install -e '.[dashboard]'" in result.stderr
    assert not (tmp_path / "x.json").exists()


def test_a_tracker_without_a_dashboard_is_refused() -> None:
    """By its name, with what was probably meant."""
    result = CliRunner().invoke(group, ["dashboard", "wnadb"])
    assert (result.exit_code, "did you mean wandb?" in result.stderr) == (1, True)
