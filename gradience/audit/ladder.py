"""The one ladder of ranks that summaries, suggestions and compression share: powers of two up to r, and r itself."""


def ranks(r: int) -> tuple[int, ...]:
    """Every rank worth considering for an adapter of rank `r`, ascending: 1, 2, 4, ... and `r` as the last."""
    return (*(1 << i for i in range(r.bit_length()) if 1 << i < r), r)


def at_least(k: float, r: int) -> int:
    """The lowest rung that is not below `k`; never 0 and never above `r`."""
    return next((rank for rank in ranks(r) if rank >= k), r)
