"""Tests of `gradience_mlflow.models`: advice on an adapter stands on the models that hold it, and on no other."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from gradience_mlflow import MLflowSink

from gradience.audit.record import AuditRecord
from gradience.mirror.sink import Batch, Run
from gradience.policy import audit_event
from gradience.policy.advice import advise

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow", minversion="3.0")

MakeBatch = Callable[..., Batch]
Audited = Callable[..., list[dict[str, Any]]]
VERDICT = "gradience.verdict"


@pytest.fixture
def audited(make_record: Callable[..., AuditRecord]) -> Audited:
    """Make the two events of an audit: `audited(step)`; with `peft_dir` of an adapter from elsewhere."""

    def events(step: int | None, **adapter: Any) -> list[dict[str, Any]]:
        record = make_record({f"{layer}.q_proj": [3.0, 1.0, *[0.01] * 14] for layer in range(4)}, **adapter)
        advice = advise(record)
        return [
            {"event": "metrics", "step": step, "kind": "lora_audit", "metrics": audit_event.metrics(record, advice)},
            {"event": "recommendation", "step": step, **audit_event.recommendation(record, advice)},
        ]

    return events


@pytest.fixture
def tracked(client: "MlflowClient") -> str:
    """A run that somebody trained in."""
    return str(client.create_run("0").info.run_id)


def _deliver(uri: str, run: Run, tracked: str, *batches: Batch) -> None:
    sink = MLflowSink(tracking_uri=uri, run=tracked)
    sink.open(run)
    for batch in batches:
        sink.deliver(batch)
    sink.close(None, 5)


def _model(client: "MlflowClient", tracked: str, step: int | None = None) -> str:
    """A model that the run logs, at a step."""
    from mlflow.entities import LoggedModelOutput

    made = client.create_logged_model("0", source_run_id=tracked)
    if step is not None:
        client.log_outputs(tracked, [LoggedModelOutput(made.model_id, step)])
    return str(made.model_id)


def _register(client: "MlflowClient", name: str, tracked: str, model: str | None = None) -> str:
    """A version of a registered model, of a run or of a model that it logged."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"models:/{model}" if model else "file:///nowhere"
    return str(client.create_model_version(name, source, run_id=tracked, model_id=model).version)


def test_the_only_model_of_a_run_and_its_version_have_the_advice(
    store_uri: str, client: "MlflowClient", run: Run, tracked: str, batch: MakeBatch, audited: Audited
) -> None:
    """As flat tags with the values that the run has, so that a search over models finds it; twice changes nothing."""
    model = _model(client, tracked)
    version = _register(client, "judge", tracked, model)
    for _ in range(2):
        _deliver(store_uri, run, tracked, batch(*audited(500, fingerprint="f")))
    wanted = client.get_run(tracked).data.tags
    for found in (client.get_logged_model(model).tags, client.get_model_version("judge", version).tags):
        assert {key: wanted[key] for key in found} == found
        assert (found[VERDICT], found["gradience.suggested_rank"]) == ("review", "2")
        assert (found["gradience.advice_step"], found["gradience.adapter"]) == ("500", "f")
        assert not {"gradience.cursor", "gradience.run_id"} & found.keys()
    searched = client.search_model_versions("tags.`gradience.verdict` = 'review'")
    assert [str(one.version) for one in searched] == [version]


def test_of_several_models_the_one_of_the_step_is_meant(
    store_uri: str, client: "MlflowClient", run: Run, tracked: str, batch: MakeBatch, audited: Audited
) -> None:
    """A model of each checkpoint; where none has the step, none is guessed."""
    models = {step: _model(client, tracked, step) for step in (400, 500)}
    versions = {step: _register(client, "judge", tracked, model) for step, model in models.items()}
    _deliver(store_uri, run, tracked, batch(*audited(450)))
    assert not any(VERDICT in client.get_logged_model(model).tags for model in models.values())
    _deliver(store_uri, run, tracked, batch(*audited(500), first=3))
    assert [VERDICT in client.get_logged_model(models[step]).tags for step in models] == [False, True]
    assert [VERDICT in client.get_model_version("judge", versions[step]).tags for step in models] == [False, True]


def test_older_advice_replaces_none(
    store_uri: str, client: "MlflowClient", run: Run, tracked: str, batch: MakeBatch, audited: Audited
) -> None:
    """As on the run."""
    model = _model(client, tracked)
    _deliver(store_uri, run, tracked, batch(*audited(500)), batch(*audited(400), first=3))
    assert client.get_logged_model(model).tags["gradience.advice_step"] == "500"


def test_the_version_that_was_audited_is_surely_it(
    store_uri: str, client: "MlflowClient", run: Run, tracked: str, batch: MakeBatch, audited: Audited
) -> None:
    """By its reference, whatever else the run has, and though newer advice stands there."""
    first, second = (_register(client, "judge", tracked) for _ in range(2))
    _deliver(store_uri, run, tracked, batch(*audited(500)))
    _deliver(store_uri, run, tracked, batch(*audited(400, peft_dir=f"models:/judge/{first}"), first=3))
    tags = [client.get_model_version("judge", version).tags for version in (first, second)]
    assert [one.get("gradience.advice_step") for one in tags] == ["400", None]
    assert client.get_run(tracked).data.tags["gradience.advice_step"] == "500"


def test_a_store_that_refuses_costs_no_advice(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    tracked: str,
    batch: MakeBatch,
    audited: Audited,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody may write to a registry, or there is none: the run has everything."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("no", error_code=PERMISSION_DENIED)

    _register(client, "judge", tracked)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", refuse)
    _deliver(store_uri, run, tracked, batch(*audited(500)))
    assert client.get_run(tracked).data.tags[VERDICT] == "review"
