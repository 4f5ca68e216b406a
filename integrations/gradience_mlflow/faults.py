"""MLflow's exceptions as ours: who could mend it decides the class.

MLflow's own classes tell little (a refused connection, a 503 and a page of HTML are all INTERNAL_ERROR), so the code
and the words decide. No message carries credentials.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from gradience.errors import GradienceError, RejectedError, SinkError, TargetGoneError, UnavailableError

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
_PERSONAL: Final = (  # only a person can mend these: a driver that is not installed, a folder that cannot be used
    ImportError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_TOO_LARGE: Final = re.compile(r"error code 413\b")
_NO_ANSWER: Final = re.compile(r"API request to (https?://[^/\s]+)\S* failed with (?:timeout )?exception ")
_SECRETS: Final = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")
_LONGEST: Final = 400  # characters of the cause in a message


@contextmanager
def translated(action: str, *, opening: bool = False) -> Iterator[None]:
    """Whatever MLflow raises inside becomes a `SinkError` that begins with what was attempted.

    While a run is being opened no item is to blame: what MLflow rejects there only a person can mend. An exception that
    tells nothing passes as it is.
    """
    try:
        yield
    except GradienceError:
        raise
    except Exception as error:
        kind = _kind(error)
        if kind is None:
            raise
        kind = TargetGoneError if opening and kind is RejectedError else kind
        raise kind(f"{action}: {plain(error)}") from None  # the cause's text may hold credentials


def plain(error: BaseException) -> str:
    """What went wrong in one line, without user, password or token."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if found := _NO_ANSWER.match(text):
        text = f"no answer from {found[1]}: {_root(error)}"
    text = re.sub(r"://[^/?#\s]*@", "://", text)
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _root(error: BaseException) -> str:
    """The words of the first cause, such as `Connection refused`."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _kind(error: Exception) -> type[SinkError] | None:
    if isinstance(error, MlflowException):
        return _mlflow_kind(error)
    if isinstance(error, _PERSONAL):
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
