"""Tests of `gradience_wandb.probing`: against a real wandb-core and W&B's service on loopback."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gradience.mirror import probing
from gradience.mirror.probing import Answer, Question, Verdict
from tests.integrations.wandb_double import faults
from tests.integrations.wandb_double.server import KEY, Server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SINK = "gradience_wandb:WandbSink"


@pytest.fixture
def double(wandb_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, in the environment of whoever is logged in there."""
    with closing(Server()) as server:
        for key, value in server.env(wandb_home).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.delenv("WANDB_SILENT")
        yield server


def ask(timeout_s: float, *options: dict[str, Any]) -> list[Answer]:
    """What W&B says to sinks with these options."""
    return probing.probe([Question(sink=SINK, options=one) for one in options], timeout_s)


def test_each_state_of_w_and_b_is_told(double: Server, wandb_home: Path) -> None:
    """Who is logged in, that a named run is missing, that nothing answers; offline and disabled as they are."""
    with closing(Server()) as hung:
        hung.faults.set(faults.HANG)
        online, missing, silent, offline, disabled = ask(
            20,
            {},
            {"run": "me/sft/none"},
            {"base_url": hung.address.replace("//", f"//me:{KEY}@")},
            {"mode": "offline"},
            {"mode": "disabled"},
        )
    assert (online.verdict, online.said) == (Verdict.REACHABLE, "the W&B server knows me")
    assert (missing.verdict, "no W&B run me/sft/none" in missing.said) == (Verdict.UNREACHABLE, True)
    assert silent.verdict is Verdict.UNREACHABLE
    assert KEY not in silent.said
    assert (offline.verdict, offline.said[:21]) == (Verdict.REACHABLE, "W&B is offline here, ")
    assert (disabled.verdict, disabled.said[:21]) == (Verdict.UNREACHABLE, "W&B is disabled here:")
    assert double.runs == {}
    assert list(wandb_home.rglob("run-*")) == []


def test_nobody_is_asked_to_log_in(double: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key there is nobody to ask for, and the way to log in is told."""
    monkeypatch.delenv("WANDB_API_KEY")
    (answer,) = ask(20, {})
    assert answer.verdict is Verdict.UNREACHABLE
    assert "Nobody is logged in to W&B" in answer.said
    assert "Viewer" not in double.asked
