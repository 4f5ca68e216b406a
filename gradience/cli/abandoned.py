"""Whether a run without an end has nobody any more who records it."""

from pathlib import Path

from gradience.vnext import lock, state


def is_abandoned(path: Path) -> bool:
    """Whether there was a recorder that could lock the file, and there is none now; False where nobody can tell."""
    locks = [place / state.RECORDER_LOCK for place in state.places(path)]
    signed = next((place for place in locks if _size(place)), None)
    return signed is not None and lock.holder(signed) is None


def _size(place: Path) -> int:
    try:
        return place.stat().st_size
    except OSError:
        return 0
