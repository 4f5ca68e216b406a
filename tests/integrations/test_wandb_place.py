"""Tests of `gradience_wandb.place` and of what the sink makes of it; none of them needs wandb."""

from pathlib import Path

import pytest
from gradience_wandb import WandbSink
from gradience_wandb.place import Wish, resolve

from gradience.errors import InputError, TargetGoneError
from gradience.mirror.sink import Run

URL = "https://w.example.org"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODE", "PROJECT", "ENTITY", "BASE_URL", "DIR", "CONFIG_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def _write(path: Path, **settings: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))


def test_an_option_counts_more_than_the_environment_and_that_more_than_files(tmp_path: Path) -> None:
    """As in W&B, whose directory's settings count more than the user's."""
    _write(tmp_path / "home/.config/wandb/settings", base_url=URL, entity="user", project="user", mode="offline")
    _write(tmp_path / "wandb/settings", entity="folder", project="folder", mode="online")
    environ = {"HOME": str(tmp_path / "home"), "WANDB_PROJECT": "environment"}
    found = resolve(Wish(), environ, tmp_path)
    assert (found.server, found.entity, found.project, found.mode) == (URL, "folder", "environment", "online")
    assert resolve(Wish(project="option"), environ, tmp_path).project == "option"


def test_a_broken_settings_file_says_nothing(tmp_path: Path) -> None:
    """W&B warns and goes on; so do we."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("mode = offline\n")
    assert resolve(Wish(), {}, tmp_path).mode == "online"


def test_a_target_shows_no_credentials_and_knows_a_server_by_one_name() -> None:
    """The address without its user, then what was named; W&B's own servers have several names, in several versions."""
    assert WandbSink(base_url="https://me:secret@w.example.org/", project="p").target == f"{URL}#project=p"
    assert WandbSink(base_url="https://api.forge.coreweave.com").target == WandbSink().target == "https://api.wandb.ai"
    assert resolve(Wish(), {}, Path("/")).server is None  # wandb keeps logins by the name that it knows itself


@pytest.mark.parametrize("url", [f"{URL}?api_key=secret", f"{URL}/#secret"])
def test_a_target_shows_nothing_that_hides_behind_an_address(url: str) -> None:
    """It is kept beside the journal, and shown."""
    assert WandbSink(base_url=url).target == URL


def test_the_folders_are_those_that_wandb_uses(tmp_path: Path) -> None:
    """WANDB_DIR, there `.wandb` before `wandb`; and WANDB_CONFIG_DIR for the user's settings."""
    _write(tmp_path / "settings-of-mine/settings", project="mine")
    environ = {"WANDB_DIR": "runs", "WANDB_CONFIG_DIR": str(tmp_path / "settings-of-mine")}
    found = resolve(Wish(), environ, tmp_path)
    assert (found.directory, found.project) == (tmp_path / "runs/wandb", "mine")
    (tmp_path / "runs/.wandb").mkdir(parents=True)
    assert resolve(Wish(), environ, tmp_path).directory == tmp_path / "runs/.wandb"


@pytest.mark.parametrize(
    ("project", "experiment", "named"),
    [
        ("option", "journal", "option"),
        (None, "journal", "journal"),
        (None, None, "uncategorized"),
        (None, 7, "uncategorized"),
        (None, "a/b:c", "a_b_c"),
        (None, "x" * 200, "x" * 128),
    ],
)
def test_a_project_is_always_one_that_wandb_takes(project: str | None, experiment: object, named: str) -> None:
    """Whatever a journal calls its experiment; a slash would lead to the entity of somebody else."""
    assert resolve(Wish(project=project), {}, Path("/")).project_for(experiment) == named


def test_offline_and_online_are_different_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that was mirrored offline is mirrored anew, whole, into the run online."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbSink(project="p", entity="e").target == f"{(tmp_path / 'wandb').as_uri()}#project=e/p"
    assert WandbSink(project="p", entity="e", mode="online").target == "https://api.wandb.ai#project=e/p"


def test_what_is_not_named_here_is_remembered() -> None:
    """The project of earlier deliveries to the same server is taken where nobody names another."""
    sink = WandbSink()
    found = sink.at("https://api.wandb.ai#project=e/p")
    assert found is not None
    assert found.target == "https://api.wandb.ai#project=e/p"
    named = sink.at("https://api.wandb.ai#run=p/1")
    assert named is not None
    assert named.target == "https://api.wandb.ai#run=p/1"
    assert sink.at("file:///elsewhere/wandb#project=p") is None
    assert WandbSink(project="q").at("https://api.wandb.ai#project=e/p") is None


def test_a_mode_that_nothing_can_be_delivered_in_is_refused() -> None:
    """With the modes that there are."""
    with pytest.raises(InputError, match="mode 'shared': give `mode` or WANDB_MODE as one of online, run, offline"):
        WandbSink(mode="shared")


def test_an_address_that_is_none_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a password in it."""
    with pytest.raises(InputError, match=r"give `base_url` or WANDB_BASE_URL as https://HOST$"):
        WandbSink(base_url="me:secret@host")
    monkeypatch.setenv("WANDB_BASE_URL", "localhost:8080")
    with pytest.raises(InputError, match="cannot reach a W&B server"):
        WandbSink()
    assert WandbSink(base_url="http://localhost:8080").target == "http://localhost:8080"


def test_a_disabled_wandb_takes_nothing() -> None:
    """The user's setting is respected, and nothing ever counts as delivered."""
    with pytest.raises(TargetGoneError, match="W&B is disabled here: nothing is delivered"):
        WandbSink(mode="disabled").open(Run(run_id="r", journal="/r.jsonl", started=0.0))


def test_only_what_there_is_can_be_uploaded() -> None:
    """A mistake in `artifacts` is said when the sink is made."""
    with pytest.raises(InputError, match="artifacts names 'weights': it takes a list of audit, report, telemetry"):
        WandbSink(artifacts=("weights",))  # type: ignore[arg-type]


@pytest.mark.parametrize("run", ["a/b/c/d", "e/p/", "/r", "r:v0", "https://wandb.ai/e/p/runs/r"])
def test_what_cannot_name_a_run_is_refused(run: str) -> None:
    """With the three forms that can: a part too many would lead to the run of somebody else."""
    with pytest.raises(InputError, match="names no W&B run: give it as ID, PROJECT/ID or ENTITY/PROJECT/ID"):
        WandbSink(run=run)


@pytest.mark.parametrize("run", ["r", "p/r", "e/p/r"])
def test_a_run_is_named_by_its_path(run: str) -> None:
    """As much of it as is needed."""
    assert WandbSink(run=run).target == f"https://api.wandb.ai#run={run}"
