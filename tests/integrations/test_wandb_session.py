"""Tests of `gradience_wandb.session`, with stand-ins for wandb's core and run; real ones are met online and offline."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("wandb")

from gradience_wandb import session
from gradience_wandb.contents import mark
from gradience_wandb.known import Expected, Known
from gradience_wandb.session import Session

from gradience.errors import RejectedError, TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Position
from gradience.vnext.types import RunStatus

MakeBatch = Callable[..., Batch]
START = {"event": "run_start", "config": {"lr": 1}}
END = {"event": "run_end", "status": "ok"}
ALERT = {"event": "alert", "step": 1, "severity": "info", "code": "A", "message": "m"}
AUDIT = {"event": "metrics", "step": 5, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5, "modules": {}}}
ADVICE = {"event": "recommendation", "step": 5, "recommendations": [], "verdict": "review", "codes": []}


class Config(dict[str, Any]):
    """A run's configuration, whose `update` takes what wandb's does."""

    def update(self, fresh: Mapping[str, Any], allow_val_change: bool) -> None:  # type: ignore[override]
        """Take it."""
        assert allow_val_change
        super().update(fresh)


class Live:
    """A run in wandb's hands, which takes everything."""

    def __init__(self, starting_step: int) -> None:
        self.starting_step = starting_step
        self.config, self.summary = Config(), dict[str, Any]()
        self.tags: tuple[str, ...] = ()
        self.notes = ""
        self.rows: dict[int, dict[str, Any]] = {}
        self.alerts: list[tuple[str, float]] = []
        self.defined: list[str] = []
        self.exits: list[int] = []

    def log(self, values: dict[str, Any], step: int, commit: bool) -> None:
        """Take a row."""
        assert commit
        assert step not in self.rows
        self.rows[step] = values

    def alert(self, title: str, _text: str, _level: str, wait_duration: float) -> None:
        """Take an alert."""
        self.alerts.append((title, wait_duration))

    def define_metric(self, key: str, **_: Any) -> None:
        """Take note of it."""
        self.defined.append(key)

    def log_artifact(self, made: object) -> object:
        """Take it."""
        return made

    def finish(self, exit_code: int) -> None:
        """End."""
        self.exits.append(exit_code)


class World:
    """The core and what can be read back, as a test wants them: `refusals` are the next answers to `confirm`."""

    id, path, url, arguments = "r1", "me/p/r1", None, {"project": "p"}

    def __init__(self, known: Known | None = None, starting_step: int = 0) -> None:
        self.known = known
        self.starting_step = starting_step
        self.begun: list[dict[str, Any]] = []
        self.lives: list[Live] = []
        self.expected: list[Expected] = []
        self.refusals: list[str | Exception] = []
        self.unsettled: Exception | None = None
        self.is_ended = True
        self.wanted: Any = SimpleNamespace(has_audit=False, travels=lambda _: False, audit=lambda *_: "files")

    def session(self) -> Session:
        """One that has found what is known."""
        first = {"name": "demo", "config": {"gradience": {"run_id": "run-1"}}}
        world: Any = self
        return Session(world, world, self.known, first, self.wanted)

    @property
    def live(self) -> Live:
        """The run as it was begun last."""
        return self.lives[-1]

    def init(self, **arguments: Any) -> Live:
        """Begin the run."""
        self.begun.append(arguments)
        self.lives.append(Live(self.starting_step))
        return self.live

    @contextmanager
    def bounded(self, _limit_s: float, _what: str) -> Iterator[None]:
        """All the time that there is."""
        yield

    def end(self) -> None:
        """Nothing to kill."""

    def look(self) -> Known | None:
        """As a test has it."""
        return self.known

    def confirm(self, expected: Expected, _live: object) -> str | None:
        """Whatever comes next."""
        self.expected.append(expected)
        answer = self.refusals.pop(0) if self.refusals else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ends(self) -> bool:
        """As a test has it."""
        return self.is_ended

    def settle(self, _made: object, _timeout_s: int) -> None:
        """As a test has it."""
        if self.unsettled is not None:
            raise self.unsettled

    def published(self) -> list[Any]:
        """No audit of an earlier process."""
        return []


@pytest.mark.parametrize(
    ("line", "starting_step"), [pytest.param(2, 0, id="offline"), pytest.param(-1, 3, id="the core knows more")]
)
def test_only_rows_that_are_not_there_are_logged(batch: MakeBatch, line: int, starting_step: int) -> None:
    """W&B drops a row whose step is over, and counts a second one twice offline; nor is anybody alerted again."""
    world = World(Known(line=line), starting_step)
    world.session().deliver(batch(START, ALERT, ALERT, {"event": "train_step", "step": 1, "loss": 1.0}))
    assert (list(world.live.rows), world.live.alerts) == ([3, 4], [("A", session.AT_ONCE_S)])


def test_an_alert_in_doubt_is_sent_so_that_wandb_drops_a_second_one(batch: MakeBatch) -> None:
    """The next one of the same title is not in doubt."""
    world = World()
    world.refusals = ["the server does not show them"]
    sink = world.session()
    with pytest.raises(UnavailableError, match="the server does not show them"):
        sink.deliver(batch(START, ALERT))
    sink.deliver(batch(START, ALERT))
    sink.deliver(batch(ALERT, first=3))
    assert [live.alerts for live in world.lives] == [
        [("A", session.AT_ONCE_S)],
        [("A", session.AGAIN_S), ("A", session.AT_ONCE_S)],
    ]


def test_a_run_that_is_there_is_resumed_as_it_is(batch: MakeBatch) -> None:
    """A person may have named it anew; only a new one begins with what we have for it."""
    for known, first in ((None, {"name": "demo"}), (Known(line=1, keys=frozenset(["train/loss"])), {})):
        world = World(known)
        world.session().deliver(batch(START, first=2))
        (begun,) = world.begun
        assert (begun["id"], begun["resume"], begun["project"]) == ("r1", "allow", "p")
        assert {key: value for key, value in begun.items() if key == "name"} == first
    assert "train/loss" in world.live.defined


def test_all_of_a_batch_has_to_be_read_back(batch: MakeBatch) -> None:
    """Its position, last row, tags, and the line of its configuration."""
    world = World()
    lines = batch(START, ALERT)
    world.session().deliver(lines)
    tags = frozenset(["gradience:A"])
    assert world.expected == [Expected(position=lines.position, row=2, tags=tags, configured=1)]
    assert frozenset(world.live.tags) == tags
    assert world.live.config["lr"] == 1


def test_the_first_configuration_is_remembered_from_batch_to_batch(batch: MakeBatch) -> None:
    """A resume that says otherwise is told, and changes nothing."""
    world = World()
    sink = world.session()
    for number, event in enumerate((START, {"event": "train_step", "step": 1}, {**START, "config": {"lr": 2}}), 1):
        sink.deliver(batch(event, first=number))
    assert world.live.config["lr"] == 1
    assert world.live.summary["gradience"]["param_conflict"] == "lr: 1, then 2"


def test_an_end_that_wandb_does_not_know_of_is_told_again(batch: MakeBatch) -> None:
    """Else the run would go on for ever; once it is known, nothing more is said."""
    world = World()
    world.is_ended = False
    sink = world.session()
    with pytest.raises(UnavailableError, match="W&B does not know of it yet"):
        sink.deliver(batch(START, END))
    world.is_ended = True
    for _ in range(2):
        sink.deliver(batch(START, END))
    assert [live.exits for live in world.lives] == [[0], [0]]
    told = {"status": "ok", "cursor": str(Position(2, "f"))}
    assert World(Known(line=2, told=told, state="running")).session().tracked.position is None
    assert World(Known(line=2, told=told, state="crashed")).session().tracked.position == Position(2, "f")
    assert World(Known(line=2, told=told, state="crashed", has_files=False)).session().tracked.position is None


def test_letting_go_says_nothing(batch: MakeBatch) -> None:
    """Without a status, without a line, or after an end of the journal's own."""
    for known, status in (
        (Known(line=1), None),
        (None, RunStatus.ERROR),
        (Known(line=2, told={"status": "ok"}, state="finished"), RunStatus.ERROR),
    ):
        world = World(known)
        world.session().close(status, 1.0)
        assert world.begun == []
    world = World()
    sink = world.session()
    sink.deliver(batch(START))
    sink.close(None, 1.0)
    assert world.live.exits == []


def test_what_is_refused_for_good_is_refused_twice(batch: MakeBatch) -> None:
    """The first time a whole batch may have been too much; another batch begins anew."""
    world = World()
    sink = world.session()
    world.refusals = [RejectedError("too large")] * 3
    for first, error in ((1, UnavailableError), (1, RejectedError), (2, UnavailableError)):
        with pytest.raises(error, match="too large"):
            sink.deliver(batch(START, first=first))


def test_a_line_that_a_core_would_drop_is_refused(batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of it: the line would count as delivered."""
    monkeypatch.setattr(session, "_MOST_VALUES", 2)
    world = World()
    with pytest.raises(RejectedError, match="a line with more than 2 metrics"):
        world.session().deliver(batch({"event": "train_step", "step": 1, "loss": 1.0}))
    assert world.begun == []


def test_lines_of_another_file_are_refused(batch: MakeBatch) -> None:
    """Those at the same place, and those that begin otherwise."""
    world = World(Known(line=1, told={"cursor": str(Position(1, "f"))}))
    with pytest.raises(TargetGoneError, match="holds lines of another file"):
        world.session().deliver(batch(START))
    assert world.begun == []


@pytest.mark.parametrize(
    ("present", "ours", "note"),
    [
        ("", "", "**Verdict: review**"),
        ("by hand", "", "by hand"),
        ("an older one", "an older one", "**Verdict: review**"),
    ],
)
def test_a_note_takes_the_place_of_none_or_of_ours(batch: MakeBatch, present: str, ours: str, note: str) -> None:
    """Never of one that a person wrote, or changed."""
    world = World(Known(line=0, notes=present, told={"note": mark(ours)}))
    world.session().deliver(batch(AUDIT, ADVICE))
    assert (world.live.notes or present).startswith(note)


def test_files_that_a_store_refuses_cost_no_number(batch: MakeBatch) -> None:
    """They are told as missing, and no more once they came; an outage is waited for instead."""
    world = World()
    world.wanted.has_audit = True
    world.unsettled = UnavailableError("no answer")
    sink = world.session()
    with pytest.raises(UnavailableError, match="no answer"):
        sink.deliver(batch(AUDIT, ADVICE))
    world.unsettled = TargetGoneError("no room")
    sink.deliver(batch(AUDIT, ADVICE))
    assert "no room" in world.live.summary["gradience"]["artifacts_missing"]
    world.unsettled = None
    sink.deliver(batch({**AUDIT, "step": 6}, {**ADVICE, "step": 6}, first=3))
    assert world.live.summary["gradience"]["artifacts_missing"] == "none"


def test_what_is_there_already_is_uploaded_no_second_time(batch: MakeBatch) -> None:
    """An artifact would get another version for nothing."""
    world = World(Known(line=2))
    world.wanted.has_audit = True
    world.unsettled = AssertionError("uploaded again")
    world.session().deliver(batch(AUDIT, ADVICE))
    assert world.live.notes == ""


def test_a_metric_whose_name_is_a_pattern_is_left_to_wandb(batch: MakeBatch) -> None:
    """`*` would give every metric of the run our x-axis."""
    world = World()
    world.session().deliver(batch({"event": "metrics", "step": 1, "kind": "k", "metrics": {"*": 1.0, "b": 2.0}}))
    assert [key for key in world.live.defined if "*" in key] == []
    assert "k/b" in world.live.defined
