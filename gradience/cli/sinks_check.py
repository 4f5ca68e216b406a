"""`gradience sinks check`: what a list of sinks means, and whether the trackers in it can be reached."""

import os
import sys
from typing import Any, Final

import click
import msgspec

from gradience.cli import outcome, output
from gradience.errors import ConfigError
from gradience.mirror import config, probing, reason
from gradience.mirror.config import Config
from gradience.mirror.live.spec import Terms
from gradience.mirror.pace import BATCH_LINES, LONGEST_WAIT_S
from gradience.mirror.probing import Answer, Question, Verdict
from gradience.mirror.wish import Wish
from gradience.report.plain import plain

TIMEOUT_S: Final = 30.0  # most of it is for a library that is imported from a cold disk
_CODES: Final = {Verdict.MISTAKEN: outcome.UNUSABLE, Verdict.UNREACHABLE: output.BEHIND}


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a list: what it means, and what its tracker answered. No field has a credential in it."""

    name: str
    type: str
    target: str
    new_runs: str | None  # where in the target they go; None where the tracker's own settings say
    options: tuple[str, ...]
    variables: dict[str, tuple[str, ...]]  # which settings have their value from which variables
    events: tuple[str, ...] | None
    rename: dict[str, str]
    batch_lines: int
    flush_interval_s: float
    retry_max_s: float
    close_timeout_s: float | None  # None: as long as the recorder waits for all
    answer: Answer


@click.command(short_help="Ask each tracker of a list whether it can be reached.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--sinks", "listed", metavar="FILE", envvar="GRADIENCE_SINKS", show_envvar=True, help="A list of sinks in YAML."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long all of them may take to answer, the import of their libraries included.",
)
@output.json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], listed: str | None, *, timeout_s: float, as_json: bool) -> None:
    """Say what a list of sinks means, and ask each tracker whether it can be reached.

    Nothing is created or changed in any of them, nobody is asked for a login, and no credential is shown. The exit code
    is 1 if something has to be mended first, a mistake in the list or a missing library, and 4 if a tracker did not
    answer, or not to you.
    """
    if names and ctx.get_parameter_source("listed") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --sinks or names, not both")
    if not names and not listed:
        raise click.UsageError("nothing to check: give --sinks FILE, or names that `gradience sinks` lists")
    found = _read(names, listed, as_json=as_json)
    for remark in found.remarks:
        output.talk(plain(remark))
    if not found.wishes:
        output.talk("There is no sink in it: nothing to check, and nothing is mirrored.")
    questions = [Question(sink=wish.type, options=wish.options) for wish in found.wishes]
    answers = probing.probe(questions, timeout_s)
    checked = [_checked(wish, answer) for wish, answer in zip(found.wishes, answers, strict=True)]
    if as_json:
        output.document({"sinks": msgspec.to_builtins(checked), "mistakes": []})
    else:
        for one in checked:
            _tell(one)
    sys.exit(outcome.worst(_CODES.get(one.answer.verdict, 0) for one in checked))


def _read(names: tuple[str, ...], listed: str | None, *, as_json: bool) -> Config:
    try:
        return config.given(names) if names else config.read(listed)
    except ConfigError as error:
        if as_json:
            output.document({"sinks": [], "mistakes": list(error.mistakes)})
        raise


def _checked(wish: Wish, answer: Answer) -> Checked:
    hidden = {os.environ.get(name, ""): f"${{{name}}}" for names in wish.variables.values() for name in names}
    address, _, choice = reason.hiding(wish.sink().target, hidden).partition("#")
    return Checked(
        name=wish.label,
        type=wish.type,
        target=address,
        new_runs=choice or None,
        options=tuple(wish.options),
        variables=wish.variables,
        events=wish.events,
        rename=wish.rename,
        batch_lines=_given(wish.batch_lines, BATCH_LINES),
        flush_interval_s=_given(wish.flush_interval_s, Terms().poll_s),
        retry_max_s=_given(wish.retry_max_s, LONGEST_WAIT_S),
        close_timeout_s=wish.close_timeout_s,
        answer=msgspec.structs.replace(answer, said=reason.hiding(answer.said, hidden)),
    )


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _tell(one: Checked) -> None:
    label = one.name if one.name == one.type else f"{one.name} ({one.type})"
    output.lines(plain(f"{label}: {one.answer.verdict.value}, {one.answer.said} ({one.answer.took_s:.1f} s)"))
    for name, text in _facts(one).items():
        output.lines(plain(f"  {name:<10} {text}"))


def _facts(one: Checked) -> dict[str, str]:
    renamed = ", ".join(f"{ours} as {theirs}" for ours, theirs in one.rename.items())
    origins = ", ".join(f"{name} from {_origin(variables)}" for name, variables in one.variables.items())
    end = "" if one.close_timeout_s is None else f"; {one.close_timeout_s:g} s at the end of a run"
    return {
        "target": one.target,
        **({"new runs": one.new_runs} if one.new_runs else {}),
        **({"options": ", ".join(one.options)} if one.options else {}),
        **({"variables": origins} if origins else {}),
        "events": ", ".join(one.events) if one.events else "all",
        **({"renamed": renamed} if renamed else {}),
        "delivery": f"up to {one.batch_lines} lines at once, every {one.flush_interval_s:g} s; "
        f"in an outage an attempt every {one.retry_max_s:g} s at least{end}",
    }


def _origin(variables: tuple[str, ...]) -> str:
    """Where a value is from; never what it is."""
    return " and ".join(f"${{{name}}}{'' if os.environ.get(name) else ' (not set: its default)'}" for name in variables)
