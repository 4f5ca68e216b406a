"""What a safetensors header can say that is not so."""

import json
from random import Random
from typing import Any, Final

from tests.fuzz.draft import Header, header_text
from tests.fuzz.mutation import mutates

NUMBERS: Final[list[Any]] = [
    -1, 0, 1, 3, 4.0, 2.5, 1e30, "4", None, True, [], {}, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30,
    10**400, -(2**63),
]  # fmt: skip
ENTRIES: Final[list[Any]] = [None, 1, "x", [], {}, [[]], {"dtype": "F32"}, {"shape": [1]}, {"data_offsets": [0, 0]}]


@mutates("header", "header: an offset", weight=3)
def offset(header: Header, rng: Random) -> Header:
    entry = _entry(header, rng)
    begin, end = entry["data_offsets"]
    entry["data_offsets"] = rng.choice(
        [
            [begin + rng.choice([-4, -1, 1, 4]), end],
            [begin, end + rng.choice([-4, -1, 1, 4])],
            [end, begin],
            [begin],
            [begin, end, end],
            [begin, begin],
            [0, end],
            [rng.choice(NUMBERS), end],
            [begin, rng.choice(NUMBERS)],
            None,
            "0,4",
            {},
            [begin + 4, end + 4],
            [begin + 2**63, end + 2**63],
        ]
    )
    return header


@mutates("header", "header: offsets swapped or shared")
def swapped(header: Header, rng: Random) -> Header:
    one, two = _entry(header, rng), _entry(header, rng)
    if rng.random() < 0.5:
        one["data_offsets"], two["data_offsets"] = two["data_offsets"], one["data_offsets"]
    else:
        two["data_offsets"] = one["data_offsets"]
    return header


@mutates("header", "header: a shape", weight=3)
def shape(header: Header, rng: Random) -> Header:
    entry = _entry(header, rng)
    said = list(entry["shape"])
    entry["shape"] = rng.choice(
        [
            said[::-1],
            [*said, 1],
            [1] * 60 + said,
            said[:-1],
            [-one for one in said],
            [2**32, 2**32],
            [2**62, 4],
            [0, *said],
            [1] * 100_000,
            [rng.choice(NUMBERS), *said[1:]],
            None,
            "x",
            {},
            [[1]],
            [2**64, 0],
            [2 * one for one in said],
        ]
    )
    return header


@mutates("header", "header: a type", weight=2)
def dtype(header: Header, rng: Random) -> Header:
    _entry(header, rng)["dtype"] = rng.choice(
        [
            "F64",
            "F16",
            "BF16",
            "F32",
            "I32",
            "U32",
            "F8_E4M3",
            "F8_E5M2",
            "F8_E8M0",
            "F4",
            "F6_E2M3",
            "C64",
            "f32",
            "",
            "X" * 300,
            "\n",
            None,
            1,
            [],
            {},
            "F8_E4M3FNUZ",
        ]
    )
    return header


@mutates("header", "header: an entry")
def entry(header: Header, rng: Random) -> Header:
    place = rng.randrange(len(header))
    key, said = header[place]
    odd: Any = rng.choice([*ENTRIES, {**(said if isinstance(said, dict) else {}), "extra": 1}])
    header[place] = (key, odd)
    return header


@mutates("header", "header: a key twice", weight=2)
def twice(header: Header, rng: Random) -> Header:
    key, said = rng.choice(header)
    changed = dict(said)
    if rng.random() < 0.5 and "shape" in changed:
        changed["shape"] = changed["shape"][::-1]
    if rng.random() < 0.5 and "data_offsets" in changed:
        changed["data_offsets"] = _entry(header, rng)["data_offsets"]
    header.insert(rng.randrange(len(header) + 1), (key, changed))
    return header


@mutates("header", "header: an entry more or less")
def count(header: Header, rng: Random) -> Header:
    if rng.random() < 0.5:
        header.pop(rng.randrange(len(header)))
    else:
        end = max((said["data_offsets"][1] for _, said in header if "data_offsets" in said), default=0)
        shape, place = rng.choice([([0], end), ([], end), ([1], end), ([0, 5], 0), ([0], end + 4), ([2**63, 0], end)])
        header.append(("x.weight", {"dtype": "F32", "shape": shape, "data_offsets": [place, place]}))
    return header


@mutates("header", "header: metadata")
def metadata(header: Header, rng: Random) -> Header:
    odd: Any = rng.choice(
        [
            None,
            1,
            [],
            "x",
            {"a": 1},
            {"a": None},
            {"a": {"b": "c"}},
            {"format": "tf"},
            {"x" * 1000: "y" * 1000},
            {"": "\ud800"},
        ]
    )
    return [("__metadata__", odd), *((key, said) for key, said in header if key != "__metadata__")]


@mutates("header", "header: entries in another order", harmless=True)
def shuffled(header: Header, rng: Random) -> Header:
    rng.shuffle(header)
    return header


@mutates("header", "header: padded", harmless=True)
def padded(header: Header, rng: Random) -> bytes:
    return header_text(header) + b" " * rng.choice([1, 7, 4096])


@mutates("header", "header: text that is not JSON", weight=2)
def not_json(header: Header, rng: Random) -> bytes:
    text = header_text(header)
    place = rng.randrange(len(text))
    return rng.choice(
        [
            text[:place],
            text[:place] + b"\x00" + text[place:],
            text[:place] + rng.randbytes(3) + text[place + 3 :],
            b"[" + text + b"]",
            text + b"\x00" * 8,
            b" " + text,
            text + text,
            b"{}",
            b"[]",
            b"null",
            b"\xef\xbb\xbf" + text,
            text.replace(b'"', b"'"),
            text + b"\n,",
        ]
    )


@mutates("header", "header: deep nesting", weight=0.2)
def nested(header: Header, rng: Random) -> bytes:
    n = rng.choice([500, 2_000, 200_000, 5_000_000])
    deep = rng.choice([b"[" * n + b"]" * n, b'{"a":' * (n // 5) + b"1" + b"}" * (n // 5), b"[" * n])
    key = rng.choice([b"x", b"__metadata__", json.dumps(header[-1][0]).strip('"').encode()])
    return b'{"' + key + b'":' + deep + b"," + header_text(header)[1:]


@mutates("header", "header: very many keys", weight=0.08)
def many(header: Header, rng: Random) -> bytes:
    """Pairs, tensors without bytes, or entries that are no tensors: each costs the file next to nothing."""
    n = rng.choice([20_000, 100_000, 300_000, 900_000])
    end = max((said["data_offsets"][1] for _, said in header if "data_offsets" in said), default=0)
    nothing = f'{{"dtype":"F32","shape":[0],"data_offsets":[{end},{end}]}}'
    key, said = rng.choice(
        [("x.{}.lora_A.weight", nothing), ("{}", nothing), ("a", nothing), ("{}", "0"), ("a.{}.lora_E", "[]")]
    )
    body = ",".join(f'"{key.format(i)}":{said}' for i in range(n))
    return b"{" + body.encode() + b"," + header_text(header)[1:]


def _entry(header: Header, rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = rng.choice(
        [said for key, said in header if key != "__metadata__"] or [{"data_offsets": [0, 0], "shape": []}]
    )
    return found
