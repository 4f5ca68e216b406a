"""What one entry of a sink list asks for, however it was written: in a file, as a mapping, or as a sink object."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from gradience.mirror import registry
from gradience.mirror.pace import BATCH_LINES, LONGEST_WAIT_S, POLL_S, Tempo
from gradience.mirror.selection import Choice, select
from gradience.mirror.sink import Sink

DAY_S: Final = 86_400.0


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One sink: by type and options, or as it is.

    It travels to other processes by stdin, never on a command line: `options` may hold credentials.
    """

    type: Annotated[
        str, Meta(min_length=1, description="The sink: a name that `gradience sinks` lists, or package.module:Class.")
    ]
    name: Annotated[str, Meta(min_length=1, description="What messages call it; else its type.")] | None = None
    options: Annotated[
        dict[str, Any], Meta(description="Options of the sink itself; they may also stand in the entry directly.")
    ] = {}
    events: (
        Annotated[
            tuple[str, ...],
            Meta(min_length=1, description="Only these events reach the tracker, beside run_start and run_end."),
        ]
        | None
    ) = None
    rename: Annotated[
        dict[str, str], Meta(description="Names of metrics in the tracker: `train/loss: loss`; others stay.")
    ] = {}
    batch_lines: Annotated[int, Meta(ge=1, le=20_000, description="Lines that are delivered at once.")] | None = None
    flush_interval_s: (
        Annotated[float, Meta(ge=0.05, le=DAY_S, description="How long lines may gather before they are delivered.")]
        | None
    ) = None
    retry_max_s: (
        Annotated[float, Meta(ge=0.5, le=DAY_S, description="The longest wait between two attempts in an outage.")]
        | None
    ) = None
    close_timeout_s: (
        Annotated[float, Meta(ge=0.0, le=DAY_S, description="How long the end of a run may wait for this tracker.")]
        | None
    ) = None
    made: Sink | None = None
    source: str | None = None  # the file that has the entry
    variables: dict[str, tuple[str, ...]] = {}  # of the environment, by the settings and options that have them in them

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name or self.type

    def sink(self, **inherited: Any) -> Sink:
        """The sink; options that were given count more than inherited ones.

        Raises:
            GradienceError: it is not installed, or does not take an option.
        """
        made = self.made or registry.load(self.type, **{**inherited, **self.options})
        choice = Choice(events=self.events, rename=self.rename, close_timeout_s=self.close_timeout_s)
        return select(made, choice)

    def tempo(self, poll_s: float = POLL_S) -> Tempo:
        """How the sink is delivered to; `poll_s` stands where nothing is said about it."""
        return Tempo(
            batch_lines=self.batch_lines or BATCH_LINES,
            poll_s=self.flush_interval_s or poll_s,
            longest_wait_s=self.retry_max_s or LONGEST_WAIT_S,
        )
