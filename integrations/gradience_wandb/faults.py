"""W&B's exceptions as ours: who could mend it decides the class.

wandb has one class for nearly everything, and calls a server that does not answer a failed login: the words decide. No
message carries credentials.
"""

import re
from contextlib import AbstractContextManager
from typing import Final

from wandb.errors import AuthenticationError, Error, UsageError

from gradience.errors import RejectedError, SinkError, TargetGoneError, UnavailableError
from gradience.mirror import translation
from gradience.mirror.translation import PERSONAL

_STATUS: Final = re.compile(r"(?:error|status|HTTP|upload:) (\d{3})\b")
_BUSY: Final = re.compile(r"did not respond in time|deadline exceeded|service process|while retrying|timed? ?out")
_NO_ANSWER: Final = re.compile(
    r"(?:Failed to verify credentials with (\S+): )?Failed to execute API request: the service process is busy.*"
)
_GONE: Final = re.compile(r"permission denied|not found|could not find|deleted|API key|log ?in", re.IGNORECASE)
_GONE_STATUS: Final = ("401", "403", "404", "410")
_LATER_STATUS: Final = ("408", "409", "429")  # 409: another request about the same run was faster
_SECRETS: Final = ("WANDB_API_KEY",)


def translated(action: str, *, opening: bool = False) -> AbstractContextManager[None]:
    """Whatever wandb raises inside becomes a `SinkError` that begins with what was attempted."""
    return translation.translated(action, _kind, plain, opening=opening)


def of_status(status: str) -> type[SinkError]:
    """What an HTTP status of W&B's means."""
    if status in _GONE_STATUS:
        return TargetGoneError
    return RejectedError if status.startswith("4") and status not in _LATER_STATUS else UnavailableError


def plain(error: object) -> str:
    """What went wrong in one line, without user, password or key."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = _NO_ANSWER.sub(lambda found: f"no answer from {found[1] or 'the server'}", text)
    return translation.shown(text, _SECRETS)


def _kind(error: Exception) -> type[SinkError] | None:
    if isinstance(error, PERSONAL):
        return TargetGoneError
    if isinstance(error, Error):
        return _wandb_kind(error)
    if type(error).__module__.startswith("wandb.") and (found := _STATUS.search(str(error))):
        return of_status(found[1])
    if isinstance(error, OSError | EOFError) or type(error).__module__.startswith("wandb."):  # its core is gone
        return UnavailableError
    return RejectedError if isinstance(error, TypeError | ValueError | OverflowError) else None


def _wandb_kind(error: Error) -> type[SinkError]:
    text = str(error)
    if _BUSY.search(text):
        return UnavailableError
    if found := _STATUS.search(text):
        return of_status(found[1])
    is_personal = isinstance(error, AuthenticationError | UsageError) or _GONE.search(text)
    return TargetGoneError if is_personal else UnavailableError
