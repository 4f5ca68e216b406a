"""Tests of `gradience_wandb.remote`, with stand-ins for W&B's API; the real one is met in `test_wandb_online`."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("wandb")

from gradience_wandb import foreign, remote
from gradience_wandb.known import Expected, Known
from gradience_wandb.place import ONLINE, Place
from gradience_wandb.remote import Remote

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Position, Run

EXPECTED = Expected(position=Position(2, "f"), row=2)


class Api:
    """Answers with `there`, and like W&B's own keeps what it has read once."""

    def __init__(self, there: Any) -> None:
        self.there = there
        self._runs: dict[str, Any] = {}

    def run(self, path: str) -> Any:
        """The run of a path."""
        if path not in self._runs and self.there is None:
            raise ValueError(f"Could not find run {path}")
        return self._runs.setdefault(path, self.there)

    def flush(self) -> None:
        """Forget all of that."""
        self._runs.clear()


def _found(**more: Any) -> Any:
    """A run that has all that is expected."""
    about: dict[str, Any] = {"config": {}, "lastHistoryStep": 2, "tags": [], "notes": None, "state": "running", **more}
    return SimpleNamespace(
        summary_metrics={"gradience": {"cursor": str(Position(2, "f"))}, "_step": 2, "a": 1}, **about
    )


def _remote(api: Api, check: Callable[[], None] = lambda: None) -> Remote:
    core: Any = SimpleNamespace(page="https://w", api=lambda: api, check=check)
    return Remote(core, "me", "p", "r1")


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A live run; nothing waits for it."""
    monkeypatch.setattr(remote, "CONFIRM_S", 0.0)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return SimpleNamespace(settings=SimpleNamespace(x_file_stream_transmit_interval=1.0, sync_dir=str(tmp_path)))


def test_a_run_is_read_as_it_is_now() -> None:
    """Not as it was when it was read first, and without what is W&B's own; one that is deleted under us is told."""
    api = Api(None)
    run = _remote(api)
    assert run.look() is None
    api.there = _found(lastHistoryStep=None)
    assert run.look() == Known(told={"cursor": str(Position(2, "f"))}, keys=frozenset(["a"]), state="running")
    api.there = _found(tags=["mine"])
    assert (seen := run.look()) is not None
    assert (seen.line, seen.tags) == (2, ("mine",))
    api.there = None
    with pytest.raises(TargetGoneError, match="W&B run me/p/r1 was deleted: name another with --run"):
        run.look()


def test_nothing_is_confirmed_by_a_core_that_is_gone(live: Any) -> None:
    """It took with it what it had not sent, media above all."""

    def gone() -> None:
        raise UnavailableError("wandb-core has ended")

    assert _remote(Api(_found())).confirm(EXPECTED, live) is None
    with pytest.raises(UnavailableError, match="wandb-core has ended"):
        _remote(Api(_found()), gone).confirm(EXPECTED, live)


@pytest.mark.parametrize(
    ("sizes", "is_there"), [({"a": 1, "b": 1}, True), ({"a": 1, "b": 0}, False), ({"a": 1}, False)]
)
def test_a_file_is_there_once_it_has_contents(live: Any, sizes: dict[str, int], is_there: bool) -> None:
    """The server lists one that was only announced, too."""
    files = [SimpleNamespace(name=name, size=size) for name, size in sizes.items()]
    expected = Expected(position=EXPECTED.position, row=2, files=("a", "b"))
    why = _remote(Api(_found(files=lambda names: files if names else []))).confirm(expected, live)
    assert (why is None) is is_there


def test_a_core_that_gave_up_says_why(live: Any, tmp_path: Path) -> None:
    """It goes on taking rows as if nothing had happened."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/debug-internal.log").write_text("filestream: fatal error: filestream: upload: 403 Forbidden\n")
    with pytest.raises(TargetGoneError, match="refused rows of run me/p/r1 with status 403: log in again"):
        _remote(Api(_found(lastHistoryStep=1))).confirm(EXPECTED, live)


def _theirs(**more: Any) -> Any:
    """A run of somebody else's that is over; `saved` has what it was when it was updated."""
    about: dict[str, Any] = {"path": ["me", "p", "u1"], "url": None, "group": "", "summary": {"loss": 0.1}, **more}
    made = _found(state="finished", **about)
    made.summary_metrics = made.summary
    made.saved = []
    made.update = lambda: made.saved.append((made.tags, made.notes, dict(made.summary), dict(made.config)))
    return made


def test_what_a_person_changes_between_two_deliveries_stays(run: Run, batch: Callable[..., Batch]) -> None:
    """Tags, note and settings are theirs as they are now; the position goes with the last request."""
    api = Api(_theirs(tags=["mine"], config={"lr": 1}))
    core: Any = SimpleNamespace(api=lambda: api, bounded=lambda *_: nullcontext())
    found = foreign.named(core, Place(mode=ONLINE, server=None, directory=Path()), "me/p/u1")
    sink = found.give(run, ())
    api.there = _theirs(tags=["mine", "new"], notes="by hand", config={"lr": 2})
    lines = batch({"event": "alert", "step": 1, "severity": "info", "code": "A", "message": "m"})
    sink.deliver(lines)
    ((tags, notes, summary, config),) = api.there.saved
    assert (tags, notes, summary["loss"], config["lr"]) == (["mine", "new", "gradience:A"], "by hand", 0.1, 2)
    assert config["gradience"]["cursors"] == {"run-1": str(lines.position)}
    assert summary["gradience"]["alert"] == {"A": "info at step 1: m"}
    assert found.give(run, ()).tracked.position == lines.position
    api.there = _theirs()
    audit = {"event": "metrics", "step": 5, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5, "modules": {}}}
    sink.deliver(batch(audit, {"event": "recommendation", "step": 5, "recommendations": [], "verdict": "ok"}, first=2))
    assert api.there.notes.startswith("**Verdict: ok**")
    assert found.is_over
