"""adapter_model.bin: read without running what is in it."""

import os
import pickle
from collections import OrderedDict
from contextlib import suppress
from copy import copy
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.audit.tensors import torch_file
from gradience.audit.tensors.factors import Reader
from gradience.audit.tensors.widening import widen
from gradience.errors import AdapterError


class Evil:
    """What a hostile file would run on loading."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_found_in_both_formats_of_torch(tmp_path: Path, zipped: bool) -> None:
    """The archive of today and the stream of before."""
    torch.save({"x": torch.ones(2, 3, dtype=torch.bfloat16)}, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    tensor = torch_file.header(tmp_path / "a.bin")["x"]
    assert (tensor.dtype, tensor.shape, tensor.nbytes) == ("BF16", (2, 3), 12)


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """Only tensors are unpickled."""
    torch.save({"x": Evil(tmp_path / "ran")}, tmp_path / "a.bin")
    with pytest.raises(AdapterError, match=r"which was not run; save it again, as safetensors"):
        torch_file.header(tmp_path / "a.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_is_not_of_torch_is_refused(tmp_path: Path, protocol: int) -> None:
    """Whatever its protocol: one line, and nothing is run."""
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol=protocol))
    with pytest.raises(AdapterError) as caught:
        torch_file.header(tmp_path / "a.bin")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "zipped"),
    [(dtype, zipped) for dtype in DTYPES for zipped in (True, False) if zipped or "float8" not in str(dtype)],
)  # torch itself cannot load float8 from the older format
def test_the_place_is_where_the_numbers_stand(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    """What torch loads lies there, byte for byte: parts of a storage, parameters and scalars too."""
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    saved = OrderedDict(a=whole, part=whole[1:3], number=torch.tensor(1).to(dtype), empty=whole[:0])
    if dtype.is_floating_point:
        saved["parameter"] = torch.nn.Parameter(whole.clone())
    torch.save(saved, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    raw = (tmp_path / "a.bin").read_bytes()
    loaded = torch.load(tmp_path / "a.bin", weights_only=True)
    found = torch_file.header(tmp_path / "a.bin")
    assert found.keys() == loaded.keys()
    for key, tensor in found.items():
        assert tensor.shape == tuple(loaded[key].shape)
        data = loaded[key].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        assert raw[tensor.offset : tensor.offset + tensor.nbytes] == data


def test_a_module_leaves_its_versions_beside_its_tensors(tmp_path: Path) -> None:
    """A state dict is more than a dictionary; what more it is does not matter."""
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "a.bin")
    assert list(torch_file.header(tmp_path / "a.bin")) == ["weight", "bias"]


def test_scattered_numbers_are_told_by_the_dtype(tmp_path: Path) -> None:
    """Such a factor is refused; of any other tensor nothing is read."""
    torch.save({"x": torch.ones(4, 3)[::2], "y": torch.ones(2, 3, 4).mT}, tmp_path / "a.bin")
    assert {one.dtype for one in torch_file.header(tmp_path / "a.bin").values()} == {"F32 in strides"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_transposed_matrix_is_read_by_its_columns(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    """PEFT saves those of a tied head so: they are views of the embedding's factors."""
    whole = torch.arange(1, 25).reshape(4, 6).to(dtype)
    tensors = {"x": whole.T, "part": whole[1:3].T, "row": whole[:1].T}
    torch.save(tensors, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    found = torch_file.header(tmp_path / "a.bin")
    assert [one.by_columns for one in found.values()] == [True, True, False]
    if dtype.is_floating_point:
        reader = Reader(whole.nbytes)
        for key, tensor in tensors.items():
            wide = np.empty(tensor.shape)
            widen(reader.read(found[key]), found[key].dtype, wide)
            assert wide.tolist() == tensor.double().tolist()
        reader.close()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """By the directory of the archive: nothing is unpacked."""
    torch.save({"x": torch.ones(4)}, tmp_path / "a.bin")
    with ZipFile(tmp_path / "a.bin") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with ZipFile(tmp_path / "bomb.bin", "w", ZIP_DEFLATED) as bomb:
        for name, content in files.items():
            bomb.writestr(name, bytes(1 << 24) if name.endswith("data/0") else content)
    with pytest.raises(AdapterError, match="compressed"):
        torch_file.header(tmp_path / "bomb.bin")


def test_an_archive_that_uses_its_bytes_twice_is_refused(tmp_path: Path) -> None:
    """Entries that overlap unpack into more than is there."""
    with ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", b"x" * 1000)
        archive.filelist += [copy(archive.filelist[0]) for _ in range(3)]
        for place, entry in enumerate(archive.filelist[1:]):
            entry.filename = f"a/data/{place}"
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(AdapterError, match="overlap"):
        torch_file.header(tmp_path / "a.bin")


HOSTILE = [
    b"\x80\x02" + b"\x85" * 10,
    b"\x80\x02)" + b"\x85" * 100_000 + b"0.",
    b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    b"\x80\x02r\xff\xff\xff\xff.",
    b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    b"\x80\x02]}K\x01N" + b"s.",
    b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
    b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
    b"\x80\x02h\x01.",
    b"\x80\x02u.",
    b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    b"}" * 1_000_000,
    b"S'\\d'\n.",
]


@pytest.mark.parametrize("pickled", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_pickle_costs_little_and_runs_nothing(tmp_path: Path, pickled: bytes) -> None:
    """Missing operands, endless nesting, a key that is not hashed, huge claims, calls: one line each."""
    with ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("a/data.pkl", pickled)
    with pytest.raises(AdapterError) as caught:
        torch_file.header(tmp_path / "a.bin")
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4), zipped=st.booleans()
)
def test_a_damaged_file_gives_a_refusal_or_tensors_inside_it(
    tmp_path: Path, flips: list[tuple[int, int]], zipped: bool
) -> None:
    """Never a traceback."""
    torch.save({"x": torch.ones(2, 3), "y": torch.ones(2)}, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    raw = bytearray((tmp_path / "a").read_bytes())
    for place, value in flips:
        raw[place % len(raw)] = value
    (tmp_path / "a.bin").write_bytes(raw)
    with suppress(AdapterError):
        found = torch_file.header(tmp_path / "a.bin").values()
        tensors = [tensor for tensor in found if "strides" not in tensor.dtype]  # nothing of those is ever read
        assert all(0 <= tensor.offset <= tensor.offset + tensor.nbytes <= len(raw) for tensor in tensors)


@pytest.mark.parametrize(
    "value",
    [
        [torch.ones(1)],
        {"x": 1},
        {3: torch.ones(1)},
        {"x": torch.ones(1).expand(1 << 40)},
        {"x": torch.ones(1).to_sparse()},
    ],
)
def test_anything_but_named_tensors_is_refused(tmp_path: Path, value: object) -> None:
    """A list, a training state, a number that claims to be a terabyte."""
    torch.save(value, tmp_path / "a.bin")
    with pytest.raises(AdapterError, match="dictionary of tensors"):
        torch_file.header(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "raw", [b"", b"abc", b"PK\x03\x04", b"\x80\x02", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_broken_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    """Empty, garbage, cut short, a pointer: one line each."""
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(AdapterError) as caught:
        torch_file.header(tmp_path / "a.bin")
    assert "\n" not in str(caught.value)
