"""What a crew and its workers say to each other: one JSON object per line."""

import msgspec

from gradience.mirror.drain import Outcome
from gradience.mirror.wish import Wish


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The first word to a worker."""

    wish: Wish
    state_dir: str | None = None


class Errand(msgspec.Struct, frozen=True, kw_only=True, tag="errand"):
    """Deliver one journal, within the bounds of a `Pace`.

    A `passing` errand leaves a target alone to which another process delivers, instead of waiting for it. One that
    may `linger` waits at the end of the file for more, for as long as its patience lasts. With `abandoned` the recorder
    is known to be gone: a run without an end is ended as failed. `confirm` is that of `sync`.
    """

    journal: str
    deadline_s: float | None = None
    patience_s: float | None = None
    from_start: bool = False
    passing: bool = False
    linger: bool = False
    abandoned: bool = False
    confirm: bool = False


class Hurry(msgspec.Struct, frozen=True, tag="hurry"):
    """Linger no more."""


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """A line was passed."""

    line: int


class Remark(msgspec.Struct, frozen=True, tag="remark"):
    """Something was logged."""

    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The errand is run, for better or worse."""

    outcome: Outcome


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The journal cannot be delivered until a person mends something."""

    why: str


class Busy(msgspec.Struct, frozen=True, tag="busy"):
    """Another process delivers this journal to the same target."""


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """The worker ended without an answer."""

    why: str


Told = Errand | Hurry
Answer = Done | Refused | Busy | Lost
Said = Moved | Remark | Done | Refused | Busy | Lost
