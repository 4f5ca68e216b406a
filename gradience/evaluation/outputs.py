"""What an evaluation has left behind: files that it wrote, else what it printed."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gradience.errors import InputError
from gradience.evaluation import documents, harness
from gradience.evaluation.measure import Measure, Measures
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Eval

LARGEST: Final = 256 << 20  # bytes of a result file
_SAMPLES: Final = "samples_*.jsonl"
_NAMED: Final = re.compile(r"result|metric|eval|score|\.jsonl$")
_RECENT_S: Final = 2.0  # clocks of file systems tick coarsely


def printed(text: str) -> Measures:
    """The numbers of the last JSON object that was printed; none where there is no such."""
    return documents.measures(documents.last_object(text) or {})


def written(place: Path, since: float = 0.0) -> Measures:
    """The numbers of the newest result in a file or, however deep, a folder; `since`, Unix seconds, leaves out older.

    Raises:
        InputError: a file that is named cannot be read, or is no result.
    """
    if place.is_dir():
        return _newest(place, since)
    if not place.is_file() or place.stat().st_mtime < since - _RECENT_S:
        raise InputError(f"the evaluation did not write {place}")
    return _read(place)


def _newest(folder: Path, since: float) -> Measures:
    candidates = [path for path in folder.rglob("*.json*") if path.is_file() and not path.match(_SAMPLES)]
    for path in sorted(candidates, key=_promise, reverse=True):
        if path.stat().st_mtime >= since - _RECENT_S and (found := _tried(path)):
            return found
    return {}


def _promise(path: Path) -> tuple[bool, float, str]:
    """What is named as a result comes before configurations and tokenizers, which hold numbers too; then the newest."""
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
