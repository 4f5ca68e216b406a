"""The header parser: what it accepts, and how it refuses a file that lies."""

import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.audit import safetensors_file
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
