"""Options that belong together: declared as one decorator, received as one record."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

_F = TypeVar("_F", bound=Callable[..., Any])
_S = TypeVar("_S", bound=msgspec.Struct)
_titles: dict[click.Parameter, str] = {}


class Sectioned(click.Command):
    """A command whose `--help` lists options under the titles that they were given together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each title where its first option stands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                sections.setdefault(_titles.get(param, "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def together(*options: Callable[[_F], _F], title: str) -> Callable[[_F], _F]:
    """One decorator for several options; the `--help` of a `Sectioned` lists them in this order, under a title."""

    def decorate(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        added: list[click.Parameter] = getattr(command, "__click_params__", [])[-len(options) :]
        _titles.update(dict.fromkeys(added, title))
        return command

    return decorate


def taken(kind: type[_S], given: Mapping[str, Any]) -> _S:
    """The record whose fields are named as the parameters of its options."""
    return kind(**{name: given[name] for name in kind.__struct_fields__})
