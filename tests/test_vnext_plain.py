"""Any object as plain values."""

import argparse
import enum
import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradience.vnext.plain import MAX_DEPTH, Plain


class Colour(enum.Enum):
    """A real Enum."""

    RED = "red"


@dataclass
class Point:
    """A dataclass with a secret."""

    x: int
    api_key: str = "k"


class Settings(msgspec.Struct):
    """A Struct."""

    lr: float = 0.1


class Hostile:
    """Raises whatever it is asked."""

    def __str__(self) -> NoReturn:
        raise ZeroDivisionError

    __repr__ = __str__

    def __getattr__(self, name: str) -> NoReturn:
        raise ZeroDivisionError


class Wrapper:
    """Looks like an Enum, and is none."""

    value = "hunter2"

    def __str__(self) -> str:
        return "hunter2"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(1.5), 1.5),
        (np.float64(1.25), 1.25),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.longdouble(1.5), 1.5),
        (np.array([1, 2]), [1, 2]),
        (np.array([2.5]), 2.5),
        (np.zeros((100, 3)), "[ARRAY shape=100x3]"),
        (np.dtype("float32"), "float32"),
        (torch.tensor(2.5, requires_grad=True), 2.5),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), [1.0, 2.0]),
        (torch.zeros(1000), "[ARRAY shape=1000]"),
        (torch.bfloat16, "torch.bfloat16"),
        (torch.zeros(2, 3).shape, [2, 3]),
        (torch.zeros(3, device="meta"), "Tensor"),
        (Colour.RED, "red"),
        (Path("a/b"), str(Path("a/b"))),
        (Point(1), {"x": 1, "api_key": "[REDACTED]"}),
        (Settings(), {"lr": 0.1}),
        (argparse.Namespace(r=8), {"r": 8}),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00+00:00"),
        (timedelta(seconds=2), 2.0),
        (Decimal("0.5"), 0.5),
        (deque([1]), [1]),
        ({1}, [1]),
        (b"abc", "[BYTES len=3]"),
        (2**64, 2.0**64),
        (10**5000, "[INT bits=16610]"),
        (Wrapper(), "Wrapper"),
        (Hostile(), "Hostile"),
        (Point, "Point"),
        (object(), "object"),
        (1 + 2j, "complex"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_become_plain(value: Any, expected: Any) -> None:
    """Known kinds give their value, others nothing but their type's name."""
    assert Plain().mapping({"v": value}) == {"v": expected}


def test_a_cycle_and_depth_end() -> None:
    """What contains itself, or nests without end, is cut with a mark."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    out = Plain().mapping({"cycle": cycle, "deep": deep})
    assert (out["cycle"], json.dumps(out["deep"]).count("[")) == (["[CYCLE]"], MAX_DEPTH + 1)


def test_a_structure_that_explodes_is_truncated() -> None:
    """Twenty lists that each hold the one before ten times have 10^20 members; the conversion stays bounded."""
    bomb: list[Any] = [0]
    for _ in range(20):
        bomb = [bomb] * 10
    assert "[TRUNCATED]" in json.dumps(Plain().mapping({"bomb": bomb}))


def test_nonfinite_numbers_are_null_with_their_pointer() -> None:
    """The side field names every place by JSON Pointer, escapes included."""
    plain = Plain()
    out = plain.mapping({"a/b": float("nan"), "l": [1, np.float32("inf")], "m": {"t~": float("-inf")}})
    assert out == {"a/b": None, "l": [1, None], "m": {"t~": None}}
    assert plain.nonfinite == {"/a~1b": "NaN", "/l/1": "Infinity", "/m/t~0": "-Infinity"}


def test_long_keys_are_marked_like_values_and_stay_apart() -> None:
    """A key may hold text too: two of one length both survive."""
    out = Plain().mapping({"a" * 300: 1, "b" * 300: 2})
    assert out == {"[REDACTED len=300]": 1, "[REDACTED len=300]_": 2}


def test_reserved_and_equal_keys_are_renamed_and_counted() -> None:
    """A reserved key gets an underscore; so does a key whose text is taken."""
    plain = Plain()
    assert plain.mapping({"ts": 1, 1: 2, "1": 3}, reserved=("ts",)) == {"ts_": 1, "1": 2, "1_": 3}
    assert plain.renamed == 2


def test_the_argument_after_a_secret_flag_is_masked() -> None:
    """A command line split at blanks hides no token."""
    out = Plain().mapping({"argv": ["train.py", "--hub_token", "abc", "--lr", "0.1"]})
    assert out == {"argv": ["train.py", "--hub_token", "[REDACTED]", "--lr", "0.1"]}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_whatever_goes_in_strict_json_comes_out(value: Any) -> None:
    """The result is strict JSON, and converting it again changes nothing."""
    once = Plain().mapping({"v": value})
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert Plain().mapping(once) == once
