"""Settings in a pickle: every value of a Trainer's arguments, and nothing that a hostile one asks for."""

import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.errors import InputError
from gradience.settings import pickled


class Arguments:
    """Something with attributes, as a Trainer's arguments are."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


FIELDS = {"learning_rate": 2e-4, "max_steps": 100, "optim": "adamw", "bf16": True, "betas": [0.9, 0.95]}


def archived(path: Path, raw: bytes, name: str = "archive/data.pkl", how: int = zipfile.ZIP_STORED) -> Path:
    """A zip as torch writes it."""
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr(name, raw)
    return path


def read(path: Path) -> dict[str, Any]:
    """The settings, or none where it is refused, in one line."""
    try:
        return pickled.load(path)
    except InputError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return {}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("in_zip", [True, False])
def test_every_plain_attribute_is_read(tmp_path: Path, protocol: int, in_zip: bool) -> None:
    """Whatever the protocol, in torch's zip or bare; private ones and objects are left out."""
    raw = pickle.dumps(Arguments(**FIELDS, _n_gpu=1, callback=Arguments(a=1), where=Path("out")), protocol)
    path = tmp_path / "training_args.bin"
    if in_zip:
        archived(path, raw)
    else:
        path.write_bytes(raw)
    found = pickled.load(path)
    assert {key: value for key, value in found.items() if key != "where"} == FIELDS


def hostile(marker: Path) -> dict[str, bytes]:
    """Pickles that would make a file, by each instruction that can call something."""
    command = f"touch {marker}"
    text = command.encode()
    head = b"\x80\x04"
    system = b"cos\nsystem\n"
    shown = b"X" + struct.pack("<I", len(text)) + text
    return {
        "REDUCE": pickle.dumps(Call(os.system, command)),
        "REDUCE inside": pickle.dumps(Arguments(learning_rate=1e-4, x=Call(os.system, command))),
        "STACK_GLOBAL": head + b"\x8c\x02os\x94\x8c\x06system\x94\x93" + shown + b"\x85R.",
        "INST": b"(S'" + text + b"'\nios\nsystem\n.",
        "OBJ": b"(" + system + shown + b"o.",
        "NEWOBJ": head + system + shown + b"\x85\x81.",
        "NEWOBJ_EX": head + system + shown + b"\x85}\x92.",
        "BUILD": head + b"cbuiltins\nobject\n)\x81}\x8c\x0c__setstate__" + system + b"s" + b"b" + shown + b"b.",
        "PERSID": b"P" + text + b"\n.",
        "BINPERSID": head + shown + b"Q.",
        "EXT1": head + b"\x82\x01.",
        "eval": pickle.dumps(Call(eval, f"__import__('os').system({command!r})")),
        "in a dict's key": head + b"}(" + system + shown + b"\x85RK\x01u.",
    }


@pytest.mark.parametrize("case", hostile(Path("x")))
@pytest.mark.parametrize("in_zip", [True, False])
def test_nothing_that_a_pickle_asks_for_is_done(tmp_path: Path, case: str, in_zip: bool) -> None:
    """No call, no import; what is left is read, or refused in one line."""
    marker, path = tmp_path / "pwned", tmp_path / "training_args.bin"
    raw = hostile(marker)[case]
    if in_zip:
        archived(path, raw)
    else:
        path.write_bytes(raw)
    assert set(read(path)) <= {"learning_rate", "x"}
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_hostile_pickles_are_hostile(tmp_path: Path, protocol: int) -> None:
    """Python's own reader would have made the file."""
    marker = tmp_path / "pwned"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}"), protocol))  # noqa: S301 - on purpose
    assert marker.exists()


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """A zip that unpacks to gigabytes, a number of millions of digits, and lists in lists without end."""
    cases = [
        archived(tmp_path / "zip.bin", b"\0" * (pickled.SIZE_LIMIT + 1), how=zipfile.ZIP_DEFLATED),
        tmp_path / "deep.bin",
        tmp_path / "int.bin",
    ]
    cases[1].write_bytes(b"(" * 500_000 + b".")
    cases[2].write_bytes(b"I" + b"9" * 1_000_000 + b"\n.")
    for path in cases:
        with pytest.raises(InputError):
            pickled.load(path)


def test_a_number_that_no_float_holds_is_no_setting(tmp_path: Path) -> None:
    """Nor can Python print it."""
    path = tmp_path / "a.bin"
    path.write_bytes(pickle.dumps({"max_steps": 1 << 40_000, "seed": 1 << 1000, "many": [1 << 40_000], "r": 8}))
    assert pickled.load(path) == {"seed": 1 << 1000, "r": 8}


def test_a_member_that_does_not_unpack_is_one_line(tmp_path: Path) -> None:
    """Its compressed bytes are damaged, the archive around them is not."""
    path = archived(tmp_path / "a.bin", pickle.dumps(list(range(1000))), how=zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    start = raw.index(b"data.pkl") + len(b"data.pkl")
    raw[start : start + 20] = b"\xff" * 20
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        pickled.load(path)


def test_references_that_double_cost_nothing(tmp_path: Path) -> None:
    """Sixty tuples of two, each of the one before: two to the sixtieth values, were they walked."""
    laughs = b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    (tmp_path / "a.bin").write_bytes(b"\x80\x02}X\x01\0\0\0a" + laughs + b"s.")
    assert pickled.load(tmp_path / "a.bin") == {}


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_bytes_give_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Whatever they are."""
    path = tmp_path_factory.mktemp("fuzz") / "training_args.bin"
    path.write_bytes(raw)
    read(path)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_damaged_pickle_gives_settings_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, place: int, patch: bytes
) -> None:
    """A real one with some bytes changed."""
    raw = bytearray(pickle.dumps(Arguments(**FIELDS, nested={"a": (1, 2)}, more=Arguments(b=2))))
    place = place % len(raw)
    raw[place : place + len(patch)] = patch
    path = tmp_path_factory.mktemp("fuzz") / "training_args.bin"
    path.write_bytes(raw)
    read(path)
