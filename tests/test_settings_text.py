from pathlib import Path

import pytest

from gradience.errors import InputError
from gradience.settings import text


@pytest.mark.parametrize("content", ["{", "", '{"a": 1', "[" * 100_000])
def test_malformed_json_is_one_clear_line(tmp_path: Path, content: str) -> None:
    """The line names the file and says that it is not JSON."""
    file = tmp_path / "training_args.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"cannot read settings from .*training_args.json: invalid JSON") as raised:
        text.load(file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["a: [", "a: b: c", "\t- x", "!!python/object/apply:os.system ['true']"])
def test_malformed_or_unsafe_yaml_is_one_clear_line(tmp_path: Path, content: str) -> None:
    """YAML is read safely: a tag that would run code is as invalid as a missing bracket."""
    file = tmp_path / "args.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match="invalid YAML") as raised:
        text.load(file)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        "lora: &a {r: 8, extras: *a}",
        "a0: &a0 [1, 2]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(30)),
    ],
    ids=["itself", "doubling"],
)
def test_aliases_without_end_are_one_clear_line(tmp_path: Path, content: str) -> None:
    """A kilobyte that stands for gigabytes, or for itself, is refused before anybody walks through it."""
    file = tmp_path / "args.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match="aliases"):
        text.load(file)


@pytest.mark.parametrize(("content", "kind"), [("[1]", "a list"), ('"x"', "text"), ("null", "nothing"), ("3", "a int")])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str, kind: str) -> None:
    """Settings are names and values."""
    file = tmp_path / "args.json"
    file.write_text(content)
    with pytest.raises(InputError, match=f"found {kind}"):
        text.load(file)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A weights file given by mistake is named as such, not decoded."""
    file = tmp_path / "args.json"
    file.write_bytes(b"\x80\x81")
    with pytest.raises(InputError, match="not UTF-8 text"):
        text.load(file)


@pytest.mark.parametrize("name", ["args.json", "args.yaml"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, name: str) -> None:
    """It would even pass for YAML; the line says how to get the file itself."""
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize: 12\n")
    with pytest.raises(InputError, match="a Git LFS pointer; run `git lfs pull`"):
        text.load(tmp_path / name)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """Settings are small."""
    file = tmp_path / "args.json"
    with file.open("wb") as out:
        out.truncate(text.SIZE_LIMIT + 1)
    with pytest.raises(InputError, match="too large"):
        text.load(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The line names the file."""
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        text.load(tmp_path / "gone.json")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    file = tmp_path / "args.json"
    file.write_bytes(b'\xef\xbb\xbf{"lr": 1}')
    assert text.load(file) == {"lr": 1}
