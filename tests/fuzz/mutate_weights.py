"""What can be wrong with the bytes of a weights file."""

from random import Random

from tests.fuzz.mutation import SAFE, mutates


@mutates("weights", "bytes: cut", weight=3)
def cut(raw: bytes, rng: Random) -> bytes:
    return raw[: rng.choice([rng.randrange(len(raw) + 1), max(0, len(raw) - rng.randint(1, 8)), rng.randint(0, 16)])]


@mutates("weights", "bytes: flipped", weight=3)
def flipped(raw: bytes, rng: Random) -> bytes:
    changed = bytearray(raw)
    reach = rng.choice([8, 200, 2_000, len(raw)])
    for _ in range(rng.choice([1, 1, 2, 20])):
        if changed:
            changed[rng.randrange(min(reach, len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@mutates("weights", "bytes: overwritten", weight=2)
def overwritten(raw: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(raw) + 1)
    patch = rng.choice([bytes(64), b"\xff" * 64, rng.randbytes(64), b'"' * 8, b"\x80" * 8])
    return (raw[:start] + patch + raw[start + len(patch) :])[: len(raw)]


@mutates("weights", "bytes: inserted or removed")
def spliced(raw: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(raw) + 1)
    end = min(len(raw), start + rng.randint(1, 64))
    return rng.choice(
        [raw[:start] + raw[end:], raw[:end] + raw[start:], raw + raw[:start], raw + b"\x00" * 8, raw[start:]]
    )


@mutates("weights", "bytes: the header's length", weight=2, forms=SAFE)
def length(raw: bytes, rng: Random) -> bytes:
    size = int.from_bytes(raw[:8], "little")
    said = rng.choice(
        [
            0,
            1,
            2,
            size - 1,
            size + 1,
            size + 4,
            size // 2,
            len(raw) - 8,
            len(raw),
            10**8,
            10**8 + 1,
            2**31,
            2**63,
            2**64 - 1,
        ]
    )
    return max(0, said).to_bytes(8, "little") + raw[8:]


@mutates("weights", "bytes: something else")
def something_else(_raw: bytes, rng: Random) -> bytes:
    return rng.choice(
        [
            b"",
            b"\x00",
            bytes(8),
            bytes(5_000),
            rng.randbytes(1_000),
            b"<!doctype html><html></html>",
            b"PK\x03\x04" + bytes(500),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b"\x80\x02}q\x00.",
            b"\x80\x04N.",
            b"\x1f\x8b" * 30,
            b"PK\x05\x06" + bytes(18),
            b"\x93NUMPY" + bytes(100),
            b"GGUF" + bytes(100),
            (2).to_bytes(8, "little") + b"{}",
        ]
    )


@mutates("weights", "bytes: the other format's name", weight=0.5)
def other_format(raw: bytes, rng: Random) -> bytes:
    """As if someone had renamed it: a whole archive of another kind."""
    if raw[:2] == b"PK":
        return (2).to_bytes(8, "little") + b"{}" + rng.randbytes(rng.choice([0, 8]))
    return b"PK\x03\x04" + raw[4:]
