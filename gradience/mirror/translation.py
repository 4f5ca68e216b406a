"""What a tracker's library raises, as a sink has to raise it; which class that is, the sink alone can tell.

No message carries credentials.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from gradience.errors import GradienceError, RejectedError, SinkError, TargetGoneError

PERSONAL: Final = (  # only a person can mend these: a driver that is not installed, a folder that cannot be used
    ImportError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_LONGEST: Final = 400  # characters of the cause in a message


@contextmanager
def translated(
    action: str,
    kind: Callable[[Exception], type[SinkError] | None],
    plain: Callable[[Exception], str],
    *,
    opening: bool = False,
) -> Iterator[None]:
    """Whatever is raised inside becomes the `SinkError` of its kind, which begins with what was attempted.

    `plain` says what went wrong. While a run is being opened no item is to blame: what the tracker rejects there only
    a person can mend. An exception of no kind passes as it is.
    """
    try:
        yield
    except GradienceError:
        raise
    except Exception as error:
        found = kind(error)
        if found is None:
            raise
        found = TargetGoneError if opening and found is RejectedError else found
        raise found(f"{action}: {plain(error)}") from None  # the cause's text may hold credentials


def shown(text: str, secrets: Iterable[str]) -> str:
    """Words of a library, not too many, without the user info of addresses; `secrets` are variables that have one."""
    text = re.sub(r"://[^/?#\s]*@", "://", text)
    for secret in filter(None, map(os.environ.get, secrets)):
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
