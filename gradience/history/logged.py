"""Numbers that a tracker has under names, as the events of a run: the way back of what sinks and trainers write.

Names are those of our own sinks (`train/loss`, `eval/test/ppl`, `lora_audit/...`) and of transformers' callbacks
(`loss`, `eval_loss`, `eval/loss`). What belongs to the tracker alone (speeds, its system's load, counts of alerts) is
left out.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

OTHER: Final = "logged"  # the kind of metrics whose names say nothing to us
_BARE: Final = {"loss": "loss", "learning_rate": "lr", "lr": "lr", "grad_norm": "grad_norm", "epoch": "epoch"}
_HELD_OUT: Final = ("eval", "test", "val", "validation", "valid")
_LEFT_OUT: Final = re.compile(
    r"(?:^|[/_])(?:runtime|samples_per_second|steps_per_second|jit_compilation_time|model_preparation_time|total_flos)$|^(?:system|alerts)/|^_"
    r"|^train[_/](?:global_step|train_\w+)$|^train_(?:loss|runtime)$"
)
_GROUP: Final = re.compile(r"lr[_/](\d{1,3})$")  # `lr_0` of our sinks; a longer number is none of a group


class Point(NamedTuple):
    """One number under a name; `ts` is Unix seconds."""

    name: str
    value: float
    step: int | None
    ts: float


class Place(msgspec.Struct, frozen=True):
    """Where a number belongs: the event, the split of an evaluation or the kind of a measurement, and the key in it."""

    event: str
    part: str
    key: str


def place(name: str) -> Place | None:
    """The place of a name; None for what belongs to the tracker alone."""
    if _LEFT_OUT.search(name):
        return None
    if name.endswith("/"):
        return Place("metrics", OTHER, name)
    if name in _BARE:
        return Place("train_step", "", _BARE[name])
    head, slash, rest = name.partition("/")
    if slash and head == "train":
        return Place("train_step", "", _BARE.get(rest, rest))
    if slash and head in _HELD_OUT:
        return _held_out(head, rest)
    if slash:
        return Place("metrics", head, rest)
    prefix, under, metric = name.partition("_")
    if under and prefix in _HELD_OUT:
        return Place("eval", prefix, metric)
    return Place("metrics", OTHER, name)


def events(points: Iterable[Point]) -> Iterator[dict[str, Any]]:
    """The events without their run, in the order of time: numbers of one moment and step stand together.

    A second number under the same name is an event of its own: trackers keep both, and so do we.
    """
    found: dict[tuple[float, int, str, str], list[dict[str, float]]] = {}
    for point in sorted(points, key=lambda point: (point.ts, -1 if point.step is None else point.step)):
        at = place(point.name)
        if at is not None:
            step = -1 if point.step is None else point.step
            _put(found.setdefault((point.ts, step, at.event, at.part), []), at.key, point.value)
    for (ts, step, event, part), each in found.items():
        for numbers in each:
            yield {"ts": ts, "event": event, "step": None if step < 0 else step, **_payload(event, part, numbers)}


def _put(each: list[dict[str, float]], key: str, value: float) -> None:
    for numbers in each:
        if key not in numbers or numbers[key] == value:
            numbers[key] = value
            return
    each.append({key: value})


def _held_out(head: str, rest: str) -> Place:
    """`eval/test/loss` is of the split test, `eval/loss` of one that has no other name."""
    split, slash, key = rest.partition("/")
    return Place("eval", split, key) if slash else Place("eval", head, rest)


def _payload(event: str, part: str, numbers: dict[str, float]) -> dict[str, Any]:
    if event == "eval":
        return {"split": part, "metrics": numbers}
    if event == "metrics":
        return {"kind": part, "metrics": numbers}
    rates = {int(match[1]): value for key, value in numbers.items() if (match := _GROUP.match(key))}
    plain: dict[str, Any] = {key: value for key, value in numbers.items() if not _GROUP.match(key)}
    return plain | ({"lr": [rates.get(i) for i in range(max(rates) + 1)]} if rates else {})
