"""MLflow's exceptions as ours: who could mend it decides the class.

MLflow's own classes tell little (a refused connection, a 503 and a page of HTML are all INTERNAL_ERROR), so the code
and the words decide. No message carries credentials.
"""

import re
from contextlib import AbstractContextManager
from typing import Final

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from gradience.errors import RejectedError, SinkError, TargetGoneError, UnavailableError
from gradience.mirror import translation
from gradience.mirror.translation import PERSONAL

_GONE_CODES: Final = {
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "PERMISSION_DENIED",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
_REJECTED_CODES: Final = {"BAD_REQUEST", "INVALID_PARAMETER_VALUE"}
_GONE_WORDS: Final = re.compile(r"must be in the 'active' state|out-of-date database schema|UnsupportedModelRegistry")
_TOO_LARGE: Final = re.compile(r"error code 413\b")
_NO_ANSWER: Final = re.compile(r"API request to (https?://[^/\s]+)\S* failed with (?:timeout )?exception ")
_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")


def translated(action: str, *, opening: bool = False) -> AbstractContextManager[None]:
    """Whatever MLflow raises inside becomes a `SinkError` that begins with what was attempted."""
    return translation.translated(action, _kind, plain, opening=opening)


def plain(error: BaseException) -> str:
    """What went wrong in one line, without user, password or token."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if found := _NO_ANSWER.match(text):
        text = f"no answer from {found[1]}: {_root(error)}"
    return translation.shown(text, _SECRETS)


def _root(error: BaseException) -> str:
    """The words of the first cause, such as `Connection refused`."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _kind(error: Exception) -> type[SinkError] | None:
    if isinstance(error, MlflowException):
        return _mlflow_kind(error)
    if isinstance(error, PERSONAL):
        return TargetGoneError
    if isinstance(error, RequestException | OSError) or type(error).__name__ == "OperationalError":  # SQLAlchemy's
        return UnavailableError
    return RejectedError if isinstance(error, TypeError | ValueError | OverflowError) else None


def _mlflow_kind(error: MlflowException) -> type[SinkError]:
    text = f"{type(error).__name__} {error}"
    if error.error_code in _GONE_CODES or _GONE_WORDS.search(text):
        return TargetGoneError
    if error.error_code in _REJECTED_CODES or _TOO_LARGE.search(text):
        return RejectedError
    return UnavailableError
