"""One measured number, and what its source says about its noise."""

import msgspec


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """`examples` are the values whose mean it is, in the order of the data, where the source tells."""

    value: float
    stderr: float | None = None
    n: int | None = None
    examples: tuple[float, ...] | None = None
    higher_is_better: bool | None = None


Measures = dict[str, Measure]
"""By their names, with slashes: `accuracy`, `test/loss`, `hellaswag/acc,none`."""
