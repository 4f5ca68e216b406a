"""Which known word somebody probably meant."""

from collections.abc import Iterable
from typing import Final

LIKENESS: Final = 0.65  # of two words, up to 1: `train` means `train_step`, and `enabled` is no `rename`


def nearest(word: str, known: Iterable[str]) -> str | None:
    """What was probably meant; None where nothing is near."""
    from difflib import get_close_matches  # who makes no mistake need not wait for it

    by_sound = {_sound(name): name for name in known}
    found = get_close_matches(_sound(word), by_sound, n=1, cutoff=LIKENESS)
    return by_sound[found[0]] if found else None


def _sound(word: str) -> str:
    return word.lower().replace("-", "_")
