"""Every error that Gradience raises on purpose; a class exists only where some caller acts differently on it.

    GradienceError
    ├── InputError               an input could not be used            the command ends with exit code 1
    │   ├── TelemetryError       ... it is a telemetry file
    │   │   └── ReplacedError    ... that is not the one of before: deliver from its start, if that is meant
    │   │       └── ChangedError     ... by itself: its recorder may make it whole again
    │   ├── AdapterError         ... it is an adapter
    │   │   └── NonfiniteError       ... with NaN or infinity in it, which is a finding too
    │   └── ConfigError          ... it is a list of sinks: with every mistake in it, a line each
    ├── TextViolationError       a long text met on_text_violation="raise" (also a ValueError)
    ├── ExtraMissingError        an optional library is not installed; the message is the install line
    └── SinkError                a tracker did not take what it was given
        ├── UnavailableError     try again later: refused, timed out, 429, 5xx
        ├── RejectedError        this item will never be accepted
        └── TargetGoneError      the tracked run or the permission is gone: park, say it once

A message says what was attempted, on what, what is wrong and what to do, in one line; several mistakes have one each.
"""


class GradienceError(Exception):
    """Base of every error that Gradience raises on purpose."""


class InputError(GradienceError):
    """An input could not be used: missing, unreadable, malformed, or not what was asked for."""


class TelemetryError(InputError):
    """A telemetry file that cannot be read, written or trusted."""


class ReplacedError(TelemetryError):
    """A telemetry file or a tracked run is not the one that lines were delivered from, or to."""


class ChangedError(ReplacedError):
    """The file of that name does not begin with the lines that were delivered; its recorder may complete it."""


class AdapterError(InputError):
    """An adapter that cannot be read, or whose update is not known to be what its factors say."""


class NonfiniteError(AdapterError):
    """An adapter of `modules` modules, with NaN or infinity in those that are named."""

    def __init__(self, message: str, names: tuple[str, ...], modules: int) -> None:
        self.names, self.modules = names, modules
        super().__init__(message)


class ConfigError(InputError):
    """A list of sinks with mistakes in it; each of `mistakes` is a line that says where and what."""

    def __init__(self, file: str | None, mistakes: tuple[str, ...]) -> None:
        self.mistakes = mistakes
        several = f"{len(mistakes)} mistakes in {file or 'the list of sinks'}:"
        super().__init__("\n".join(mistakes if len(mistakes) == 1 else (several, *mistakes)))


class TextViolationError(GradienceError, ValueError):
    """A string or key over the length limit was given to a writer that was told to refuse it."""


class ExtraMissingError(GradienceError):
    """An optional library is needed and not installed."""


class SinkError(GradienceError):
    """A tracker did not take what it was given."""


class UnavailableError(SinkError):
    """The tracker cannot be reached or is overloaded: the same delivery may succeed later."""


class RejectedError(SinkError):
    """The tracker will never accept this item."""


class TargetGoneError(SinkError):
    """The tracked run, the experiment or the permission to write is gone: only a person can mend it."""
