"""The header parser: what it accepts, and how it refuses a file that lies."""

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from gradience.audit.tensors import safetensors_file
from gradience.errors import AdapterError

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def written(path: Path, header: Any, data: int = 24) -> Path:
    """A file with this header and `data` zero bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(data))
    return path


def test_a_tensor_is_placed_absolutely(tmp_path: Path) -> None:
    """Offsets count from the start of the file; metadata is no tensor."""
    file = written(tmp_path / "a.safetensors", {"__metadata__": {"format": "pt"}, "x": ENTRY})
    tensor = safetensors_file.header(file)["x"]
    assert (tensor.dtype, tensor.shape, tensor.nbytes) == ("F32", (2, 3), 24)
    assert tensor.offset + tensor.nbytes == file.stat().st_size


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        ({"x": ENTRY}, 23, "truncated"),
        ({"x": ENTRY}, 25, "does not name"),
        ({"x": ENTRY, "y": ENTRY}, 24, "overlap"),
        ({"x": {**ENTRY, "data_offsets": [4, 28]}}, 28, "hole"),
        ({"x": {**ENTRY, "data_offsets": [0, -24]}}, 24, "overlap"),
        ({"x": {**ENTRY, "shape": [2, 4]}}, 24, "shape"),
        ({"x": {**ENTRY, "shape": [-2, -3]}}, 24, "shape"),
        ({"x": {**ENTRY, "shape": [1] * 1000}}, 24, "shape"),
        ({"x": {"dtype": "F32"}}, 24, "not valid"),
        ({"x": {**ENTRY, "data_offsets": [0, 1 << 80]}}, 24, "shape"),
        (b'{"x": {"dtype": "F32", "shape": [1' + b"0" * 5000 + b'], "data_offsets": [0, 24]}}', 24, "not valid|shape"),
        ({"a\nb": ENTRY}, 24, "impossible name"),
        ({"a" * 5000: ENTRY}, 24, "impossible name"),
        ({"__metadata__": {"format": 1}, "x": ENTRY}, 24, "not valid"),
        ({"__metadata__": [], "x": ENTRY}, 24, "not valid"),
        (b'{"__metadata__": {}, "__metadata__": {}}', 0, "more than tensors"),
        (b"[1, 2]", 24, "not valid"),
        (b'{"x": ' + b"[" * 100_000, 24, "not valid"),
        (b'{"\xff": 1}', 24, "not valid"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, data: int, says: str) -> None:
    """Each broken rule of the format has its own line."""
    with pytest.raises(AdapterError, match=says):
        safetensors_file.header(written(tmp_path / "a.safetensors", header, data))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('"%d":{"dtype":"F32","shape":[],"data_offsets":[0,4]}', "300000 tensors"),
        ('"%d":0', "far more than tensors"),
    ],
)
def test_a_header_bomb_is_refused_before_it_is_decoded(tmp_path: Path, entry: str, says: str) -> None:
    """More tensors, or more of anything else, than an adapter has would cost gigabytes as Python objects."""
    count = 300_000 if "dtype" in entry else 600_000
    raw = "{" + ",".join(entry % number for number in range(count)) + "}"
    file = written(tmp_path / "a.safetensors", raw.encode())
    tracemalloc.start()
    with pytest.raises(AdapterError, match=says):
        safetensors_file.header(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(raw)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"abc", "truncated"),
        ((1000).to_bytes(8, "little") + b"{}", "truncated"),
        ((1 << 63).to_bytes(8, "little") + b"{}" * 50, "not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "adapter_model.bin"),
        (b"<!doctype html><html></html>", "not a safetensors file"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, raw: bytes, says: str) -> None:
    """A pointer, a torch archive, an error page, an empty or short file: the line says which."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(raw)
    with pytest.raises(AdapterError, match=says) as caught:
        safetensors_file.header(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(flips=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_never_gives_a_traceback(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    """Any changed bytes give either a refusal or tensors that lie inside the file."""
    file = written(tmp_path / "a.safetensors", {"__metadata__": {"format": "pt"}, "x": ENTRY})
    raw = bytearray(file.read_bytes())
    for place, value in flips:
        raw[place % len(raw)] = value
    file.write_bytes(raw)
    with suppress(AdapterError):
        tensors = safetensors_file.header(file)
        assert all(tensor.offset + tensor.nbytes <= len(raw) for tensor in tensors.values())


KEYS = st.text(st.characters(codec="utf-8"), max_size=12).filter(
    lambda key: key.isprintable() and key != "__metadata__"
)
ARRAYS = st.tuples(
    st.sampled_from(["float64", "float32", "float16", "int64", "uint8", "bool"]),
    st.lists(st.integers(0, 5), max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    tensors=st.dictionaries(KEYS, ARRAYS, max_size=8),
    metadata=st.none() | st.dictionaries(KEYS, KEYS, min_size=1, max_size=3),
)
def test_what_the_library_writes_is_read_as_the_library_reads_it(
    tmp_path: Path, tensors: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    """Same names, types, shapes and bytes, for any tensors whose names can be printed."""
    arrays = {
        key: np.random.default_rng(0).integers(0, 2, shape).astype(dtype) for key, (dtype, shape) in tensors.items()
    }
    raw = save(arrays, metadata)
    file = tmp_path / "a.safetensors"
    file.write_bytes(raw)
    found = safetensors_file.header(file)
    assert found.keys() == arrays.keys()
    for key, entry in safetensors.deserialize(raw):  # type: ignore[no-untyped-call]
        tensor = found[key]
        assert (tensor.dtype, list(tensor.shape)) == (entry["dtype"], entry["shape"])
        assert raw[tensor.offset : tensor.offset + tensor.nbytes] == bytes(entry["data"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(
    flips=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(b'0123456789{}[]",: xF')), min_size=1, max_size=3),
    cut=st.integers(0, 3),
)
def test_what_is_read_the_library_reads_alike(tmp_path: Path, flips: list[tuple[int, int]], cut: int) -> None:
    """No damage to a file makes it one that only we accept, or that we understand otherwise."""
    arrays: dict[str, np.ndarray] = {
        "a": np.ones((2, 3), np.float32),
        "b": np.ones(4, np.float16),
        "c": np.ones((1, 1)),
    }
    raw = bytearray(save(arrays, {"format": "pt"}))
    for place, value in flips:
        raw[8 + place % (len(raw) - 8)] = value
    file = tmp_path / "a.safetensors"
    file.write_bytes(raw[: len(raw) - cut])
    with suppress(AdapterError):
        found = safetensors_file.header(file)
        assume(all(tensor.dtype in safetensors_file.ITEM_BYTES for tensor in found.values()))
        theirs = dict(safetensors.deserialize(bytes(raw[: len(raw) - cut])))  # type: ignore[no-untyped-call]
        assert found.keys() == theirs.keys()
        assert all(list(tensor.shape) == theirs[key]["shape"] for key, tensor in found.items())
