"""What the measuring of a base model hands on: plain numbers, so that nothing downstream needs torch."""

import msgspec

ALGORITHM = 1  # part of the key of what is remembered: raise it when a number may change


class Norms(msgspec.Struct, frozen=True):
    """The norms of one matrix. `sigma_max` is off by at most `error`, and but for rounding never too large."""

    sigma_max: float
    fro: float
    error: float
    steps: int


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """A base model as far as it was measured: norms by module path, and why modules have none."""

    given: str
    norms: dict[str, Norms]
    issues: tuple[str, ...] = ()
