"""The `gradience` command. A command's module is imported when it is called, so that `--help` stays quick.

Exit codes: 0 done; 1 an input could not be used; 2 usage; 3 findings at or above `--fail-on`, or `verify` failed; 4 a
tracker is behind, or cannot be reached.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from gradience import __version__
from gradience.errors import ConfigError, GradienceError
from gradience.report.plain import plain

COMMANDS: Final = {
    "audit": ("gradience.cli.audit", "Measure an adapter's rank use and say what is worth testing."),
    "check": ("gradience.cli.check", "Look over a configuration before any step is taken."),
    "compare": ("gradience.cli.compare", "Compare the updates of two adapters, or recorded runs."),
    "monitor": ("gradience.cli.monitor", "Sum up recorded runs, or watch one: losses, alerts, audit, advice."),
    "dashboard": ("gradience.cli.dashboard", "Make a dashboard in a tracker, for the runs that are mirrored there."),
    "report": ("gradience.cli.report", "Write a recorded run, or an adapter, as a page in HTML."),
    "sinks": ("gradience.cli.sinks", "List the trackers that can be mirrored into, or check them."),
    "import": ("gradience.cli.import_", "Make a journal of a run that a Trainer, MLflow or W&B has."),
    "compress": ("gradience.cli.compress", "Write an adapter of a lower rank, the best approximation of its update."),
    "explain": ("gradience.cli.explain", "Say what a rule means, where it comes from and what would refute it."),
    "verify": ("gradience.cli.verify", "Run your evaluation on an adapter and on its compressed form."),
    "sync": ("gradience.cli.sync", "Catch a tracker up with a recorded run."),
}
INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it
PIPE_CLOSED: Final = 141  # 128 + SIGPIPE: the reader went away before everything was said


class LazyGroup(click.Group):
    """A group that knows its commands by name; the one place where an error becomes a line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        command: click.Command = import_module(module).command
        command.name = cmd_name
        command.short_help = summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line per command, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises on purpose becomes `Error: ...` and exit code 1."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # a shell may start us without one
                sys.stdout.flush()
        except GradienceError as error:
            # The mistakes of a list of sinks are lines of their own, each of them made plain already.
            raise click.ClickException(str(error) if isinstance(error, ConfigError) else plain(error)) from error
        except BrokenPipeError:
            _silence(sys.stdout)
            ctx.exit(PIPE_CLOSED)
        except OSError as error:
            if error.filename is not None:
                raise
            _silence(sys.stdout)
            message = f"cannot write the output: {error.strerror or error}; make room, or send it elsewhere"
            raise click.ClickException(message) from error
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        return result


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 an input could not be used, 2 usage, 3 findings at or above --fail-on, "
    "or verify failed, 4 a tracker is behind, or cannot be reached.",
)
@click.version_option(__version__, prog_name="gradience", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Flight recorder and mechanic for LoRA / PEFT fine-tuning: one JSONL per run, mirrored into your trackers."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    group.main(args=None if arguments is None else list(arguments), prog_name="gradience")


def _silence(stream: Any) -> None:
    # Python flushes stdout once more as it ends, and would complain about the closed pipe then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
