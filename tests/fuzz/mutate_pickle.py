"""Pickled weights that run code, blow up, or hold something that is no dictionary of tensors."""

import io
import os
import pickle
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from tests.fuzz.mutation import PICKLED, ZIPPED, mutates

CANARY: Final = Path(tempfile.gettempdir()) / f"gradience-canary-{os.getpid()}"  # it exists if a file ran its code


class _Runs:
    """Unpickles by calling something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payload(rng: Random) -> bytes:
    """A pickle that makes the canary when it is trusted."""
    made = f"open({str(CANARY)!r}, 'w').close()"
    call = rng.choice(
        [
            _Runs(os.system, f"touch {CANARY}"),
            _Runs(exec, made),
            _Runs(eval, made),
            _Runs(os.mkdir, str(CANARY)),
            _Runs(Path.touch, CANARY),
            _Runs(__import__, "antigravity"),
        ]
    )
    return pickle.dumps(
        rng.choice([call, {"x.lora_A.weight": call}, OrderedDict(a=torch.zeros(2), b=call)]), protocol=2
    )


@mutates("weights", "pickle: code", weight=3, forms=PICKLED)
def code(raw: bytes, rng: Random) -> bytes:
    return _with_pickle(raw, payload(rng)) if raw[:2] == b"PK" and rng.random() < 0.7 else payload(rng)


@mutates("weights", "pickle: program changed", weight=6, forms=ZIPPED)
def program(raw: bytes, rng: Random) -> bytes:
    """The archive stays whole, so that the change reaches the unpickler."""
    stream = bytearray(_entries(raw)[1])
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(stream))
        how = rng.randrange(4)
        if how == 0:
            stream[place] = rng.randrange(256)
        elif how == 1:
            stream[place] ^= 1 << rng.randrange(8)
        elif how == 2:
            stream[place:place] = rng.choice(
                [b"(", b"0", b"2", b"R", b"t", b"u", b"}", b"]", b"N", b"K\xff", b"h\x00", b"Q", b"b", b"\x85"]
            )
        else:
            del stream[place : place + rng.randint(1, 4)]
    return _with_pickle(raw, bytes(stream))


@mutates("weights", "pickle: no dictionary of tensors", weight=3, forms=PICKLED)
def odd_object(raw: bytes, rng: Random) -> bytes:
    file = io.BytesIO()
    torch.save(_odd(rng), file, _use_new_zipfile_serialization=raw[:2] == b"PK")
    return file.getvalue()


def _odd(rng: Random) -> Any:
    key, x = "base_model.model.x.lora_A.weight", torch.randn(4, 6)
    pair = {key: x, key.replace("_A", "_B"): torch.randn(6, 4)}
    endless: list[Any] = []
    endless.append(endless)
    return rng.choice(
        [
            x,
            [x],
            None,
            4,
            "x",
            {},
            {"state_dict": pair},
            {0: x},
            {**pair, "epoch": 3},
            {**pair, "x": None},
            {("a",): x},
            endless,
            {**pair, key: x.to_sparse()},
            {**pair, key: x.to("meta")},
            {**pair, key: torch.zeros(1).expand(1 << 40, 4)},
            {**pair, key: torch.zeros(1).expand(4, 1 << 30)},
            {**pair, key: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)},
            {**pair, "\n": x},
            {**pair, key: torch.zeros(1, 1).expand(4, 6)},
            {**pair, key: x.to(torch.complex64)},
            {**pair, key: x[0]},
            {**pair, "x": endless},
            {**pair, key: x.to(torch.int8)},
            {**pair, key: x.bool()},
            {**pair, "n": torch.nested.nested_tensor([x, x])},
            {**pair, key: torch.empty(0, 1 << 62)},
            {**pair, key: torch.randn(6, 4).mT},
            {**pair, key: torch._neg_view(x)},
            {**pair, key: torch.view_as_complex(torch.randn(4, 6, 2)).conj()},
        ]
    )


@mutates("weights", "pickle: views and parameters", harmless=True, weight=2, forms=ZIPPED)
def views(raw: bytes, rng: Random) -> bytes:
    """What a careful reader must take as it is: tensors that share memory or want gradients."""
    tensors = torch.load(io.BytesIO(raw), weights_only=True)
    for key, tensor in tensors.items():
        how = rng.randrange(4)
        if how == 0:
            tensors[key] = torch.nn.Parameter(tensor)
        elif how == 1:
            tensors[key] = torch.cat([tensor, tensor, tensor])[len(tensor) : 2 * len(tensor)]
    shape = rng.choice([dict, OrderedDict])
    file = io.BytesIO()
    torch.save(shape(tensors), file, pickle_protocol=rng.choice([2, 2, 3, 4]))
    return file.getvalue()


@mutates("weights", "zip: a bomb", weight=0.3, forms=ZIPPED)
def bomb(raw: bytes, rng: Random) -> bytes:
    """An entry that is small on disk and large in memory."""
    large = bytes(rng.choice([20, 400]) << 20)
    entries = _entries(raw)[0]
    victim = rng.choice([name for name in entries if "/data/" in name or name.endswith("data.pkl")])
    entries[victim] = (entries[victim] if victim.endswith("data.pkl") else b"") + large
    return _zipped(entries, zipfile.ZIP_DEFLATED)


@mutates("weights", "zip: entries", weight=2, forms=ZIPPED)
def entries(raw: bytes, rng: Random) -> bytes:
    found, _ = _entries(raw)
    name = rng.choice(sorted(found))
    how = rng.randrange(6)
    if how == 0:
        del found[name]
    elif how == 1:
        found[name] = found[name][: len(found[name]) // 2]
    elif how == 2:
        found[rng.choice(["../../x", "/etc/x", "archive/data/../x", "", "a" * 5_000])] = b"x"
    elif how == 3:
        found[name] = rng.randbytes(len(found[name]))
    elif how == 4:
        found.update({f"archive/data/x{i}": b"" for i in range(3_000)})
    else:
        return _zipped(found, zipfile.ZIP_DEFLATED)
    return _zipped(found)


def _entries(raw: bytes) -> tuple[dict[str, bytes], bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    return found, next(data for name, data in found.items() if name.endswith("data.pkl"))


def _with_pickle(raw: bytes, stream: bytes) -> bytes:
    found, _ = _entries(raw)
    return _zipped({name: stream if name.endswith("data.pkl") else data for name, data in found.items()})


def _zipped(found: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in found.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()
