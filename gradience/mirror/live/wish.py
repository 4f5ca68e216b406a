"""The sinks that a recorder was asked for: names, mappings with a `type` and options, or sink objects."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gradience.errors import InputError
from gradience.mirror import registry
from gradience.mirror.sink import Sink


class Wish(msgspec.Struct, frozen=True):
    """One sink: by name, or as it is."""

    name: str
    options: dict[str, Any] = {}
    made: Sink | None = None

    def sink(self, **inherited: Any) -> Sink:
        """The sink; options that were given count more than inherited ones.

        Raises:
            GradienceError: it is not installed, or does not take an option.
        """
        return self.made or registry.load(self.name, **{**inherited, **self.options})


def read(sinks: Sequence[Any]) -> list[Wish]:
    """What was asked for, checked as far as that is possible without starting anything.

    Raises:
        InputError: something is no sink; or as `registry.load`.
        TypeError: `sinks` is no list.
    """
    if isinstance(sinks, str | Mapping):
        raise TypeError(f"sinks is {sinks!r}: it takes a list, such as [{sinks!r}]")
    wishes = [_read(given) for given in sinks]
    targets = set()
    for wish in wishes:
        sink = wish.sink()
        if (sink.name, sink.target) in targets:
            raise InputError(f"cannot mirror twice to {sink.name} at {sink.target}: give it once")
        targets.add((sink.name, sink.target))
    return wishes


def _read(given: Any) -> Wish:
    if isinstance(given, str):
        return Wish(given)
    if isinstance(given, Mapping):
        options = dict(given)
        name = options.pop("type", None)
        if not isinstance(name, str):
            raise InputError(f"cannot mirror to a sink of no type: give {{'type': 'mlflow', ...}}, not {list(given)}")
        return Wish(name, _plain(name, options))
    if all(hasattr(given, part) for part in ("name", "target", "open", "deliver", "close")):
        return Wish(given.name, made=given)
    raise InputError(f"cannot mirror to {type(given).__name__}: give a sink's name, a mapping or a sink object")


def _plain(name: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(msgspec.json.decode(msgspec.json.encode(options)))
    except (TypeError, msgspec.DecodeError) as error:
        raise InputError(f"cannot mirror to {name}: its options are not plain values: {error}") from None
