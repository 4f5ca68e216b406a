"""What an evaluation has left behind: files that it wrote, else what it printed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from gradience.errors import InputError
from gradience.evaluation import documents, harness
from gradience.evaluation.measure import Measure, Measures
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Eval

Stamps: TypeAlias = Mapping[Path, tuple[int, int, int]]

LARGEST: Final = 256 << 20  # bytes of a result file
_SAMPLES: Final = "samples_*.jsonl"
_NAMED: Final = re.compile(r"result|metric|eval|score|\.jsonl$")
_SETTINGS: Final = re.compile(
    r"config|tokenizer|tokens_map|vocab|trainer_state|\.index\.json$"
)  # of models and trainers
_NOTHING: Final[Stamps] = {}


def printed(text: str) -> Measures:
    """The numbers of the last JSON object that was printed; none where there is no such."""
    return documents.measures(documents.last_object(text) or {})


def stamps(place: Path) -> Stamps:
    """The results that are in a file or folder now: those of an earlier evaluation must not be taken for new ones."""
    return {path: _stamp(path) for path in _candidates(place)}


def written(place: Path, before: Stamps = _NOTHING) -> Measures:
    """The numbers of the newest result that was written to a file or, however deep, a folder since `before`.

    Raises:
        InputError: a file that is named was not written, cannot be read, or is no result.
    """
    fresh = [path for path in _candidates(place) if before.get(path) != _stamp(path)]
    if place.is_dir():
        found = (_tried(path) for path in sorted(fresh, key=_promise, reverse=True))
        return next(filter(None, found), {})
    if not fresh:
        raise InputError(f"the evaluation did not write {place}")
    return _read(place)


def _candidates(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = (path for path in place.rglob("*.json*") if path.is_file() and not path.match(_SAMPLES))
    return [path for path in found if _NAMED.search(path.name) or not _SETTINGS.search(path.name)]


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written."""
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _promise(path: Path) -> tuple[bool, float, str]:
    """What is named as a result comes first, then the newest."""
    return bool(_NAMED.search(path.name)), path.stat().st_mtime, path.name


def _tried(path: Path) -> Measures:
    """Of a file that nobody named, which may be anything."""
    try:
        return _read(path)
    except InputError:
        return {}


def _read(path: Path) -> Measures:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"cannot read {path}: it is larger than {LARGEST >> 20} MB")
        if path.suffix == ".jsonl":
            return _recorded(path)
        document = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"cannot read {path}: it is no JSON object")
    return (
        _with_samples(documents.measures(document), path.parent)
        if harness.is_result(document)
        else (documents.measures(document))
    )


def _recorded(path: Path) -> Measures:
    """The latest evaluation of each split in telemetry of ours; `test/accuracy`."""
    found: Measures = {}
    for record in TelemetryReader(path):
        if isinstance(record.event, Eval):
            named: Mapping[str, Measure] = documents.measures(record.event.metrics)
            found |= {f"{record.event.split}/{name}": measure for name, measure in named.items()}
    return found


def _with_samples(found: Measures, folder: Path) -> Measures:
    newest = {harness.task_of(path.name): path for path in sorted(folder.glob(_SAMPLES))}
    for task, path in newest.items():
        if path.stat().st_size <= LARGEST:
            found = harness.with_samples(found, task, _lines(path))
    return found


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        yield from _objects(stream)


def _objects(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found
