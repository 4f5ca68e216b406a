"""Which trackers a command is about: one that is named, with options, or those of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from gradience.cli import output
from gradience.errors import InputError
from gradience.mirror import config, registry
from gradience.mirror.wish import Wish
from gradience.report.plain import plain

SINKS_HELP: Final = "A YAML file with a list of sinks; see configs/sinks/."


def named(name: str, options: Mapping[str, str]) -> Wish:
    """The wish of somebody who typed a sink's name and its options.

    Raises:
        GradienceError: no such sink.
        click.UsageError: it does not take an option.
    """
    if foreign := registry.unknown_options(registry.find(name), dict(options)):
        raise click.UsageError(f"the sink {name} does not take {flags(foreign)}")
    return Wish(type=name, options=dict(options))


def listed(path: Path) -> tuple[Wish, ...]:
    """The wishes of a file; what is to be known of them is said.

    Raises:
        InputError: it has mistakes, or no sink.
    """
    found = config.load(path)
    for remark in found.remarks:
        output.talk(remark)
    if not found.wishes:
        raise InputError(f"cannot deliver to the sinks of {plain(path)}: it lists none")
    return found.wishes


def flags(options: Mapping[str, object] | list[str]) -> str:
    """Options as they are typed."""
    return ", ".join(f"--{option.replace('_', '-')}" for option in options)
