"""What the survey hands to the summary: spectra as plain numbers, so that nothing downstream needs torch."""

import msgspec


class Spectrum(msgspec.Struct, frozen=True, kw_only=True):
    """The singular values of one module's scale * B @ A, descending, r of them, none off by more than `floor`."""

    values: tuple[float, ...]
    floor: float
    method: str  # gram | qr


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The spectra of an adapter in the order of its modules, and what was odd about measuring them."""

    spectra: tuple[Spectrum, ...]
    issues: tuple[str, ...] = ()
