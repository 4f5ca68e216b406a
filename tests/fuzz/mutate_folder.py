"""What can be wrong with the files of a directory: missing, of another kind, pointing elsewhere, or beside others."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.mutate_pickle import payload
from tests.fuzz.mutation import mutates

CONFIG: Final = "adapter_config.json"
FOREIGN: Final = (
    "pytorch_lora_weights.safetensors", "adapters.safetensors", "adapter_0.pt", "pytorch_model_fsdp.bin",
    "global_step10",
    "adapter_model-00001-of-00002.safetensors", "adapter_model.safetensors.index.json", "model.safetensors",
    "config.json",
    "adapter_model.bin", "adapter_model.safetensors", "value_head.safetensors", "training_args.bin",
    "lora_magic.safetensors",
)  # fmt: skip


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


@mutates("folder", "folder: a file gone", weight=2)
def gone(folder: Path, rng: Random) -> None:
    rng.choice(_files(folder)).unlink()


@mutates("folder", "folder: a directory in place of a file")
def directory(folder: Path, rng: Random) -> None:
    file = rng.choice(_files(folder))
    file.unlink()
    file.mkdir()


@mutates("folder", "folder: links", weight=2)
def links(folder: Path, rng: Random) -> None:
    file = rng.choice(_files(folder))
    file.unlink()
    target = rng.choice(
        [
            file.name,
            "nowhere",
            "/etc/passwd",
            "/dev/zero",
            "/dev/null",
            "/proc/self/environ",
            "/proc/self/maps",
            "..",
            "/",
            "loop",
            "x" * 300,
            str(folder / CONFIG),
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "/proc/self/pagemap",
            "/proc/version",
        ]
    )
    if target == "loop":
        (folder / "loop").symlink_to(file.name)
    file.symlink_to(target if len(target) < 250 else "y" * 250)


@mutates("folder", "folder: a pipe")
def pipe(folder: Path, rng: Random) -> None:
    file = rng.choice([*_files(folder), folder / "trainer_state.json"])
    file.unlink(missing_ok=True)
    os.mkfifo(file)


@mutates("folder", "folder: files behind links", harmless=True)
def cached(folder: Path, _rng: Random) -> None:
    """As the Hub's cache keeps them."""
    blobs = folder.parent / "blobs"
    shutil.rmtree(blobs, ignore_errors=True)
    blobs.mkdir()
    for number, file in enumerate(_files(folder)):
        shutil.move(file, blobs / str(number))
        file.symlink_to(Path("..") / "blobs" / str(number))


@mutates("folder", "folder: pickles beside it", harmless=True)
def pickles(folder: Path, rng: Random) -> None:
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt"):
        (folder / name).write_bytes(payload(rng))


@mutates("folder", "folder: a trainer's state", harmless=True)
def state(folder: Path, rng: Random) -> None:
    text = rng.choice(
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"global_step": "x"}',
            b'{"global_step": 1e999}',
            b'{"global_step": true}',
            rng.randbytes(99),
            b'{"global_step": 5, "log_history": [{"loss": NaN}]}',
            b'{"global_step": ' + b"9" * 6_000 + b"}",
            b"[" * 100_000,
        ]
    )
    (folder / "trainer_state.json").write_bytes(text)


@mutates("folder", "folder: a trainer's state that is a bomb", harmless=True, weight=0.15)
def state_bomb(folder: Path, rng: Random) -> None:
    n = rng.choice([1 << 20, 10 << 20, 60 << 20])
    body = rng.choice([b"[]," * (n // 3), b'{"a":[]},' * (n // 9), b"1.5," * (n // 4), b'"x",' * (n // 4)])
    (folder / "trainer_state.json").write_bytes(b'{"global_step": 7, "log_history": [' + body + b"0]}")


@mutates("folder", "folder: other files beside it", weight=2)
def foreign(folder: Path, rng: Random) -> None:
    for name in rng.sample(FOREIGN, 2):
        if not (folder / name).exists():
            (folder / name).write_bytes(rng.choice([b"", b"{}", rng.randbytes(100), (2).to_bytes(8, "little") + b"{}"]))
    if rng.random() < 0.5:
        rng.choice(_files(folder)).unlink()


@mutates("folder", "folder: sub-directories")
def below(folder: Path, rng: Random) -> None:
    for name in rng.sample(
        ["other", "checkpoint-5", "checkpoint-10", "checkpoint-x", "a\nb", "checkpoint-" + "9" * 30, "pissa_init"], 3
    ):
        (folder / name).mkdir(exist_ok=True)
        for file in _files(folder):
            rng.choice(_COPIES)(file, folder / name / file.name)
    if rng.random() < 0.5:
        (folder / CONFIG).unlink(missing_ok=True)


def _copied(file: Path, to: Path) -> None:
    shutil.copy(file, to)


def _linked(file: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    to.symlink_to(file)


_COPIES: Final[list[Callable[[Path, Path], None]]] = [_copied, _linked]
