"""The sinks that are installed, by name: the entry-point group `gradience.sinks`.

No sink is imported until it is asked for.
"""

import inspect
import re
from collections.abc import Callable
from importlib import metadata
from typing import Any

import msgspec

from gradience.errors import ExtraMissingError, GradienceError, InputError
from gradience.mirror import reason
from gradience.mirror.sink import Sink

GROUP = "gradience.sinks"
METHODS = ("open", "deliver", "close")
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
OURS = ("mlflow", "wandb")  # sinks that an extra of this distribution makes usable


class Installed(msgspec.Struct, frozen=True):
    """One sink that some distribution offers; `value` is where its class lives (`package:Class`)."""

    name: str
    distribution: str
    version: str
    value: str


def installed() -> tuple[Installed, ...]:
    """Every sink on offer, by name; a name that two distributions claim stands twice."""
    found = {_installed(entry) for entry in metadata.entry_points(group=GROUP)}
    return tuple(sorted(found, key=lambda sink: (sink.name, sink.distribution)))


def names() -> tuple[str, ...]:
    """The names that `load` takes."""
    return tuple(dict.fromkeys(sink.name for sink in installed()))


def rivals(sink: Installed) -> tuple[str, ...]:
    """The other distributions that claim a sink's name, so that it leads nowhere."""
    return tuple(one.distribution for one in installed() if one.name == sink.name and one != sink)


def find(name: str) -> Callable[..., Sink]:
    """The class behind a name, imported now; `package.module:Class` names one that nobody has installed.

    Only a distribution may offer a function that makes sinks: a function that a file names could be any.

    Raises:
        InputError: no distribution offers the name, several do, or what it points to cannot be loaded or is no sink.
        ExtraMissingError: a library that the sink's own module needs is not installed.
    """
    is_path = ":" in name
    if is_path and not _PATH.fullmatch(name):
        raise InputError(f"Sink {name!r} is none: give a name that `gradience sinks` lists, or package.module:Class.")
    sink = Installed(name, "this environment", "", name) if is_path else _only(name)
    try:
        factory: Callable[..., Sink] = metadata.EntryPoint(name, sink.value, GROUP).load()
    except ModuleNotFoundError as missing:
        raise ExtraMissingError(
            f"Sink {name!r} needs {missing.name!r}, which is missing: {install_line(name)}."
        ) from None
    except Exception as broken:  # noqa: BLE001 - foreign code runs here, and whoever named it is to know why it fails
        raise InputError(
            f"Sink {name!r} of {sink.distribution} cannot be loaded from {sink.value}: {reason.of(broken)}."
        ) from None
    if not callable(factory) or ((is_path or isinstance(factory, type)) and not _is_sink(factory)):
        raise InputError(f"Sink {name!r} of {sink.distribution} is none: {sink.value} has not {', '.join(METHODS)}.")
    return factory


def load(name: str, **options: Any) -> Sink:
    """A sink ready to be opened.

    Secrets among the options are masked in every text of this process from then on.

    Raises:
        InputError: as `find`, or the sink does not take an option, needs one that is not given, or refuses one.
    """
    reason.learn(options)
    factory = find(name)
    if foreign := unknown_options(factory, options):
        raise InputError(f"Sink {name!r} does not take {', '.join(foreign)}.")
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as missing:
        raise InputError(f"Sink {name!r} needs more options: {missing}.") from None
    try:
        sink = factory(**options)
    except GradienceError:
        raise
    except Exception as refusal:  # noqa: BLE001 - as in `find`
        raise InputError(f"Sink {name!r} refuses its options: {reason.of(refusal)}.") from None
    if not _is_sink(sink):
        raise InputError(f"Sink {name!r} is none: what it makes has not {', '.join(METHODS)}.")
    return sink


def unknown_options(factory: Callable[..., Sink], options: dict[str, Any]) -> list[str]:
    """The options that a sink's constructor does not take."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return []
    taken = {parameter.name for parameter in parameters}
    return [option for option in options if option not in taken]


def _installed(entry: metadata.EntryPoint) -> Installed:
    owner = entry.dist
    return Installed(entry.name, owner.name if owner else "unknown", owner.version if owner else "", entry.value)


def _only(name: str) -> Installed:
    claims = [sink for sink in installed() if sink.name == name]
    if len(claims) == 1:
        return claims[0]
    if claims:
        owners = " and ".join(sink.distribution for sink in claims)
        raise InputError(f"Sink {name!r} is claimed by {owners}: uninstall one of them.")
    known = ", ".join(names()) or "none"
    raise InputError(f"No sink named {name!r} is installed (installed: {known}): {install_line(name)}.")


def install_line(name: str) -> str:
    """What makes a sink of this name usable."""
    if name in OURS:
        return f"install the extra [{name}], in a checkout: pip install -e '.[{name}]'"
    return "install the distribution that offers it, then `gradience sinks` lists it"


def _is_sink(thing: object) -> bool:
    return all(hasattr(thing, method) for method in METHODS)
