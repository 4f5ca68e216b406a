"""`gradience sinks`: what can be mirrored into, and whether the library it needs is there; imports none of them."""

import re
from importlib import metadata, util

import click
import msgspec

from gradience.cli import output, sinks_check
from gradience.mirror import registry
from gradience.report.plain import plain


class Library(msgspec.Struct, frozen=True):
    """The outside library of a sink; `version` is None when it is not installed."""

    name: str
    version: str | None


@click.group(invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """List the trackers that can be mirrored into, or check some of them."""
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)
    elif as_json:
        raise click.UsageError(f"give --json to the command: gradience sinks {ctx.invoked_subcommand} --json")


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """List the trackers that can be mirrored into."""
    _list(as_json=as_json)


command.add_command(sinks_check.command, "check")


def _list(*, as_json: bool) -> None:
    found = [(sink, libraries(sink)) for sink in registry.installed()]
    if as_json:
        output.document({"sinks": [_as_json(sink, needs) for sink, needs in found]})
        return
    for sink, needs in found:
        output.lines(plain(f"{sink.name:<10} {sink.distribution} {sink.version}  {_state(sink, needs)}"))
    if not found:
        output.talk("No sinks are installed: install this distribution anew, its entry points are missing.")


def libraries(sink: registry.Installed) -> tuple[Library, ...]:
    """What the distribution's extra of the sink's name asks for; nothing for one that has no such extra."""
    try:
        requirements = metadata.requires(sink.distribution) or []
    except metadata.PackageNotFoundError:
        return ()
    marker = re.compile(rf"extra\s*==\s*['\"]{re.escape(sink.name)}['\"]")
    names = (re.match(r"[\w.-]+", text) for text in requirements if marker.search(text))
    return tuple(Library(name.group(), _version(name.group())) for name in names if name)


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        # A smaller distribution may bring the same package; a mere folder of that name has no file to import.
        spec = util.find_spec(library.replace("-", "_"))
        return "unknown version" if spec is not None and spec.origin is not None else None


def _state(sink: registry.Installed, needs: tuple[Library, ...]) -> str:
    if rivals := registry.rivals(sink):
        return f"cannot be used: {' and '.join(rivals)} claims the name, too; uninstall one of them"
    missing = [library.name for library in needs if library.version is None]
    if missing:
        return f"needs {', '.join(missing)}: {registry.install_line(sink.name)}"
    return ", ".join(f"{library.name} {library.version}" for library in needs) or "ready"


def _as_json(sink: registry.Installed, needs: tuple[Library, ...]) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(sink)
    rivals = registry.rivals(sink)
    usable = not rivals and all(library.version for library in needs)
    return {**fields, "usable": usable, "rivals": list(rivals), "libraries": msgspec.to_builtins(needs)}
