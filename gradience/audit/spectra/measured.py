"""What the survey hands to the summary: spectra as plain numbers, so that nothing downstream needs torch."""

import msgspec


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """‖A‖_F, ‖B‖_F without the scale, and ‖A·Aᵀ - Bᵀ·B‖_F / (‖A·Aᵀ‖_F + ‖Bᵀ·B‖_F): 0 is balanced, 1 one-sided."""

    a_norm: float
    b_norm: float
    imbalance: float


class Spectrum(msgspec.Struct, frozen=True, kw_only=True):
    """The singular values of one module's scale * B @ A, descending, r of them, none off by more than `floor`."""

    values: tuple[float, ...]
    floor: float
    method: str  # gram | qr
    balance: Balance | None = None  # None where the factors that were measured are not those that were trained


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The spectra of an adapter in the order of its modules, and what was odd about measuring them."""

    spectra: tuple[Spectrum, ...]
    issues: tuple[str, ...] = ()
