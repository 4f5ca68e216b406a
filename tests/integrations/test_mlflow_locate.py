"""Tests of `gradience_mlflow.locate` and `adoption`: which tracked run belongs to a run."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror import origin
from gradience.mirror.sink import Run, Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

pytest.importorskip("mlflow")


def _open(uri: str, run: Run, *, experiment: str | None = None, named: str | None = None) -> Tracked:
    return MLflowSink(tracking_uri=uri, experiment=experiment, run=named).open(run)


def _other(run: Run, run_id: str = "run-2", **changes: object) -> Run:
    return msgspec.structs.replace(run, run_id=run_id, **changes)


def _audit(run: Run, run_id: str = "run-2", **meta: str) -> Run:
    """The run of a journal that an audit had to make."""
    return _other(run, run_id, meta={**meta, "created_by": origin.AUDIT}, config={"lora": {"r": 8}})


def _trained(client: "MlflowClient", output_dir: str, user: str | None = None, start_time: int = 5) -> str:
    """A run as the Trainer's own callback leaves it."""
    found: TrackedRun = client.create_run(
        "0", start_time=start_time, run_name="theirs", tags={"mlflow.user": user or getpass.getuser()}
    )
    client.log_param(found.info.run_id, "output_dir", output_dir)
    return str(found.info.run_id)


def test_a_run_is_found_again_by_its_run_id(store_uri: str, run: Run, tmp_path: Path) -> None:
    """From another place, without a cursor, whatever the experiment is called now."""
    first = _open(store_uri, run, experiment="training")
    elsewhere = _other(run, "run-1", journal=str(tmp_path / "copy" / "run.jsonl"))
    assert _open(store_uri, elsewhere).id == first.id
    assert _open(store_uri, elsewhere, experiment="another").id == first.id


@pytest.mark.parametrize("run_id", ["it's", 'a"b', "%_", "run_1"])
def test_any_run_id_is_found_and_only_that(store_uri: str, run: Run, run_id: str) -> None:
    """MLflow's filters know no escape: quotes and wildcards must not confuse them."""
    first = _open(store_uri, _other(run, run_id))
    assert _open(store_uri, _other(run, run_id)).id == first.id
    assert _open(store_uri, _other(run, "itXs")).id != first.id
    assert _open(store_uri, _other(run, "run-1")).id != first.id


def test_of_two_tagged_runs_the_oldest_is_meant(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """A create whose answer was lost may leave two: every process picks the same one."""
    tags = {"gradience.run_id": run.run_id}
    client.create_run("0", start_time=20, tags=tags)
    older = client.create_run("0", start_time=10, tags=tags)
    assert _open(store_uri, run).id == older.info.run_id


def test_a_tagged_run_of_the_wished_experiment_comes_first(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """Then one of any other experiment."""
    tags = {"gradience.run_id": run.run_id}
    client.create_run("0", start_time=10, tags=tags)
    wished = client.create_run(client.create_experiment("wished"), start_time=20, tags=tags)
    assert _open(store_uri, run, experiment="wished").id == wished.info.run_id


def test_a_named_run_wins(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """Over the tag, and it keeps the run_id that it belongs to."""
    first = _open(store_uri, run)
    second = _open(store_uri, _other(run))
    assert _open(store_uri, _other(run), named=first.id).id == first.id
    assert first.id != second.id
    assert client.get_run(first.id).data.tags["gradience.run_id"] == "run-1"


def test_a_remembered_run_that_is_not_there_says_how_to_begin_anew(store_uri: str, run: Run) -> None:
    """The store was deleted or replaced: catching up alone would fail again and again."""
    with pytest.raises(TargetGoneError, match=r"MLflow run gone, .* not in the store any more: .*--from-start"):
        _open(store_uri, _other(run, tracked="gone"))


def test_a_named_run_that_is_not_there_is_gone(store_uri: str, run: Run) -> None:
    """Nothing is created in its place."""
    with pytest.raises(TargetGoneError, match=r"Finding the MLflow run of run-1: Run .*not found"):
        _open(store_uri, run, named="f" * 32)


def test_the_cursors_record_is_used_when_the_tag_is_lost(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """Somebody removed the tag: the run gets it back."""
    first = _open(store_uri, run)
    client.delete_tag(first.id, "gradience.run_id")
    assert _open(store_uri, _other(run, "run-1", tracked=first.id)).id == first.id
    assert client.get_run(first.id).data.tags["gradience.run_id"] == "run-1"


def test_mlflows_own_variable_names_a_run(
    store_uri: str, client: "MlflowClient", run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_RUN_ID is how jobs say which run they belong to; it comes after what we know ourselves."""
    known = _open(store_uri, _other(run))
    theirs = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs.info.run_id)
    assert _open(store_uri, run).id == theirs.info.run_id
    assert _open(store_uri, _other(run)).id == known.id


def test_a_training_never_joins_another_trainings_run(
    store_uri: str, client: "MlflowClient", run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_RUN_ID may be left over from the training before; an audit joins it."""
    theirs = client.create_run("0", tags={"gradience.run_id": "before"})
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs.info.run_id)
    training = _other(run, "training", config={"training": {"seed": 1}})
    assert _open(store_uri, training).id != theirs.info.run_id
    assert _open(store_uri, _audit(run, "audit")).id == theirs.info.run_id


def test_the_experiment_is_wished_in_this_order(
    store_uri: str, client: "MlflowClient", run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option, MLFLOW_EXPERIMENT_NAME, MLFLOW_EXPERIMENT_ID, the journal's own, Default; a missing one is made."""

    def place(run_id: str, experiment: str | None = None, **meta: str) -> str:
        tracked = _open(store_uri, _other(run, run_id, meta=meta), experiment=experiment)
        return str(client.get_experiment(client.get_run(tracked.id).info.experiment_id).name)

    assert place("a") == "Default"
    assert place("b", experiment="meta") == "meta"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment("by-id"))
    assert place("c", experiment=None) == "by-id"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by-name")
    assert place("d") == "by-name"
    assert place("e", experiment="option") == "option"


def test_the_journal_may_name_the_experiment(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """`meta.experiment` decides where nothing else does."""
    tracked = _open(store_uri, _other(run, meta={"experiment": "demo"}))
    assert client.get_experiment(client.get_run(tracked.id).info.experiment_id).name == "demo"


def test_a_deleted_experiment_is_gone(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """A person deleted it, a person restores it or names another."""
    client.delete_experiment(client.create_experiment("old"))
    with pytest.raises(TargetGoneError, match="'old' is deleted: restore it"):
        _open(store_uri, run, experiment="old")


def test_an_audit_adopts_the_run_that_logged_its_directory(
    store_uri: str, client: "MlflowClient", run: Run, tmp_path: Path
) -> None:
    """A run that the Trainer's own callback tracked, told by its output_dir, absolute or relative to here."""
    theirs = _trained(client, "out")
    audit = _audit(run, output_dir=str(tmp_path / "out"))
    assert _open(store_uri, audit).id == theirs
    absolute = _trained(client, str(tmp_path / "out2"))
    later = msgspec.structs.replace(_audit(run, "run-3"), journal=str(tmp_path / "out2/checkpoint-5/run.jsonl"))
    assert _open(store_uri, later).id == absolute


def test_adoption_never_guesses(store_uri: str, client: "MlflowClient", run: Run, tmp_path: Path) -> None:
    """Several candidates are listed, nothing is written."""
    candidates = [_trained(client, str(tmp_path / "out")) for _ in range(2)]
    with pytest.raises(TargetGoneError) as caught:
        _open(store_uri, _audit(run, output_dir=str(tmp_path / "out")))
    assert all(candidate in str(caught.value) for candidate in candidates)
    assert len(client.search_runs(["0"])) == 2


def test_a_strangers_relative_directory_is_not_ours(
    store_uri: str, client: "MlflowClient", run: Run, tmp_path: Path
) -> None:
    """Half of the world writes to `out`: a relative path counts only from one's own runs."""
    theirs = _trained(client, "out", user="somebody-else")
    assert _open(store_uri, _audit(run, output_dir=str(tmp_path / "out"))).id != theirs


def test_a_training_never_adopts(store_uri: str, client: "MlflowClient", run: Run, tmp_path: Path) -> None:
    """Its directory may be that of yesterday's run."""
    yesterday = _trained(client, str(tmp_path / "out"))
    meta, config = {"output_dir": str(tmp_path / "out")}, {"training": {"max_steps": 10}}
    assert _open(store_uri, _other(run, meta=meta, config=config)).id != yesterday


def test_a_lost_answer_to_create_makes_one_run(
    store_uri: str, client: "MlflowClient", run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store created the run and the answer never came: it is found, not created again."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    create = MlflowClient.create_run

    def lossy(*args: Any, **kwargs: Any) -> None:
        create(*args, **kwargs)
        raise MlflowException("API request failed with timeout exception")

    monkeypatch.setattr(MlflowClient, "create_run", lossy)
    tracked = _open(store_uri, run)
    assert [found.info.run_id for found in client.search_runs(["0"])] == [tracked.id]


def test_a_create_that_failed_is_unavailable(
    store_uri: str, client: "MlflowClient", run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried later, by whoever drains."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refused(*_args: object, **_kwargs: object) -> None:
        raise MlflowException("API request failed")

    monkeypatch.setattr(MlflowClient, "create_run", refused)
    with pytest.raises(UnavailableError, match="API request failed"):
        _open(store_uri, run)
    assert client.search_runs(["0"]) == []


def test_two_journals_on_one_run_keep_their_positions_apart(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """A run that first belonged to another journal remembers where each one is, and is found again by both."""
    first = _open(store_uri, run)
    client.set_tag(first.id, "gradience.cursor", "7:abc")
    second = _open(store_uri, _other(run), named=first.id)
    assert second.position is None
    client.set_tag(first.id, "gradience.cursor.run-2", "3:def")
    again = _open(store_uri, _other(run))
    assert (again.id, str(again.position)) == (first.id, "3:def")
    assert str(_open(store_uri, run).position) == "7:abc"
