"""Recorded curves of tiny models: what `make_curves` writes and `bench_detectors` reads."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

FOLDER: Final = Path(__file__).parent / "curves"


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One training: a value for each step from 1 on, and evaluations `[step, loss, accuracy, n]`.

    `intends` are the codes that its settings were chosen for.
    """

    family: str
    setting: str
    seed: int
    intends: list[str]
    loss: list[float]
    lr: list[float]
    grad_norm: list[float]
    evals: list[list[float]]

    @property
    def steps(self) -> int:
        """How many were planned, and taken."""
        return len(self.loss)

    def events(self) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
        """The run as a recorder would have seen it."""
        judged = {int(step): (loss, accuracy, n) for step, loss, accuracy, n in self.evals}
        yield "run_start", None, {"config": {"training": {"max_steps": self.steps}}}
        for step, (loss, lr, norm) in enumerate(zip(self.loss, self.lr, self.grad_norm, strict=True), start=1):
            yield "train_step", step, {"loss": loss, "lr": lr, "grad_norm": norm}
            if step in judged:
                loss, accuracy, n = judged[step]
                yield "eval", step, {"split": "test", "metrics": {"loss": loss, "accuracy": accuracy, "n": int(n)}}
        yield "run_end", None, {"status": "ok"}


def read(folder: Path = FOLDER) -> list[Curve]:
    """All of them, a file for each family."""
    lines: list[bytes] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        lines += gzip.decompress(path.read_bytes()).splitlines()
    return [msgspec.convert(json.loads(line, parse_constant=float), Curve) for line in lines]


def write(family: str, curves: Iterable[Curve], folder: Path = FOLDER) -> Path:
    """One family, in the bytes that the same curves always give; numbers keep five digits."""
    text = "".join(json.dumps(_short(msgspec.to_builtins(one)), separators=(",", ":")) + "\n" for one in curves)
    path = folder / f"{family}.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_short(one) for one in value]
    return {key: _short(one) for key, one in value.items()} if isinstance(value, dict) else value
