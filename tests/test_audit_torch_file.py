"""adapter_model.bin: read without running what is in it."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from gradience.audit import torch_file
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
    with pytest.raises(AdapterError, match=r"without running code.*safetensors"):
        torch_file.header(tmp_path / "a.bin")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_another_protocol_is_refused_without_a_warning(tmp_path: Path) -> None:
    """Of the protocol torch would warn before it refuses what is in it: one line says enough."""
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"x": Evil(tmp_path / "ran")}, protocol=4))
    with pytest.raises(AdapterError, match="without running code"):
        torch_file.header(tmp_path / "a.bin")


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
