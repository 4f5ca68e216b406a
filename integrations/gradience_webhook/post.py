"""One request to a webhook, and what its answer means. No text of this module holds the URL."""

import re
import ssl
from contextlib import closing, suppress
from datetime import datetime, timezone
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException
from typing import IO, Any, Final
from urllib import request
from urllib.error import HTTPError, URLError

import msgspec

from gradience import __version__
from gradience.errors import RejectedError, TargetGoneError, UnavailableError
from gradience_webhook.address import Address

TIMEOUT_S: Final = 5.0  # for a connection and for each answer: a chat answers in a fraction of that
_SHORTEST_WAIT_S: Final = 0.5  # a server that asks for less would be asked again and again
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": f"gradience/{__version__}"}
_REJECTED: Final = (400, 413, 422)
_LATER: Final = (408, 425, 429)
_WORD: Final = re.compile(rb"[a-z_]{3,40}")  # Slack's codes, such as `no_service`


class Answer(msgspec.Struct, frozen=True):
    """What a server answered; `word` is its own name for a refusal, `wait_s` how long it asked us to wait."""

    status: int
    word: str = ""
    wait_s: float | None = None

    def check(self, action: str) -> None:
        """Raise what a refusal means.

        Raises:
            UnavailableError: it may be accepted later.
            RejectedError: it never will.
            TargetGoneError: nothing will be; a redirection is among these, since it leads a secret elsewhere.
        """
        if 200 <= self.status < 300:
            return
        word = f" {self.word}" if self.word else ""
        text = f"{action}: the answer was {self.status}{word}"
        if self.status in _LATER or self.status >= 500:
            raise UnavailableError(text)
        if self.status in _REJECTED:
            raise RejectedError(text)
        raise TargetGoneError(f"{text}; make a new webhook, or give the right URL")


def send(
    address: Address, action: str, content: bytes | None, *, method: str = "POST", timeout_s: float = TIMEOUT_S
) -> Answer:
    """What the webhook's server answers, whatever that is.

    Raises:
        UnavailableError: it answers nothing.
    """
    asked = request.Request(address.url, content, _HEADERS, method=method)  # noqa: S310 - http and https alone
    try:
        with closing(_opener().open(asked, timeout=timeout_s)) as response:
            return Answer(response.status)
    except HTTPError as refusal:
        with closing(refusal):
            return Answer(refusal.code, _word(refusal, address), _wait(refusal.headers))
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{action}: no answer: {_cause(error)}") from None


class _NoRedirection(request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> None:
        """Follow none: the answer itself is what is wanted."""


@cache
def _opener() -> request.OpenerDirector:
    return request.build_opener(_NoRedirection(), request.HTTPSHandler(context=ssl.create_default_context()))


def _word(refusal: HTTPError, address: Address) -> str:
    """The code in a refusal's body: nothing longer, since it may say our own URL again."""
    try:
        word = _WORD.fullmatch(refusal.read1(64).strip())
    except (OSError, HTTPException):
        return ""
    found = word.group().decode() if word else ""
    return "" if found in address.url else found


def _wait(headers: Headers) -> float | None:
    asked: Any = headers.get("Retry-After")
    for read in (float, _seconds_until):
        with suppress(TypeError, ValueError):
            return max(_SHORTEST_WAIT_S, read(asked))
    return None


def _seconds_until(date: Any) -> float:
    return (parsedate_to_datetime(date) - datetime.now(timezone.utc)).total_seconds()


def _cause(error: BaseException) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return getattr(error, "strerror", None) or type(error).__name__
