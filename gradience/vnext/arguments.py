"""What a recorder's constructor was given, checked: a mistake is told there, and never while a run is recorded."""

import os

from gradience.vnext import privacy


def policy(limit: int | None, on_violation: str) -> privacy.Policy:
    """How texts are treated, by what a writer was told.

    Raises:
        ValueError: It makes no sense.
    """
    if on_violation not in ("redact", "raise"):
        raise ValueError(f"on_text_violation is {on_violation!r}: it takes 'redact' or 'raise'")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"max_str_len is {limit!r}: it takes a positive number of characters, or None for no limit")
    return privacy.Policy(max_str_len=limit, refuse=on_violation == "raise", known=privacy.secrets(os.environ))


def run_id(given: str | None) -> str | None:
    """A run's id as it was given, None for none.

    Raises:
        ValueError: It is no text of a sensible length, or holds a secret.
    """
    if given is None:
        return None
    if not isinstance(given, str) or not given or privacy.clean(given, privacy.DEFAULT, "run_id") != given:
        raise ValueError(f"run_id must be a text of 1 to {privacy.MAX_STR_LEN} characters without secrets")
    return given
