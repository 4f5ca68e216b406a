"""Numbers as people read them: few digits, one style everywhere; a missing number is a dash."""

import math
from typing import Final

MISSING: Final = "-"
_UNITS: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def count(value: float | None) -> str:
    """A count of things: 4096 is 4.1K."""
    if value is None or not _is_finite(value):
        return _special(value)
    for size, unit in _UNITS:
        if abs(value) >= 0.99995 * size:  # what one decimal rounds up to the unit
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def percent(value: float | None) -> str:
    """A share of 0..1 in percent, one decimal: never 100.0% for a share that is not all."""
    if value is None or not _is_finite(value):
        return _special(value)
    text = f"{value:.1%}"
    return "99.9%" if text == "100.0%" and value < 1 - 1e-9 else text


def number(value: float | None) -> str:
    """Any measurement: four significant digits, and no trailing zeros."""
    return _special(value) if value is None or not _is_finite(value) else f"{value:.4g}"


def fixed(value: float | None) -> str:
    """A measurement in a column: two decimals."""
    return _special(value) if value is None or not _is_finite(value) else f"{value:.2f}"


def megabytes(size: float | None) -> str:
    """Bytes in MB of 10^6 bytes, three digits."""
    if size is None:
        return MISSING
    return f"{size / 1e6:.3g}" if size < 1e9 else f"{size / 1e6:.0f}"


def duration(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _is_finite(value: float) -> bool:
    """Whether a float can hold it: a whole number of JSON may be larger than any."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _special(value: float | None) -> str:
    if value is None:
        return MISSING
    return str(value) if isinstance(value, float) else f"{'<-' if value < 0 else '>'}1e308"
