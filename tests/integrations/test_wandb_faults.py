"""Tests of `gradience_wandb.faults`: W&B's exceptions as ours."""

import pytest

pytest.importorskip("wandb")

from gradience_wandb.faults import of_status, plain, translated
from wandb.errors import AuthenticationError, CommError, Error, UsageError

from gradience.errors import RejectedError, SinkError, TargetGoneError, UnavailableError


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (CommError("Run initialization has timed out after 10.0 sec"), UnavailableError),
        (CommError("Error communicating with wandb process"), UnavailableError),
        (CommError("returned error 503: service unavailable"), UnavailableError),
        (CommError("returned error 429: too many requests"), UnavailableError),
        (CommError("returned error 409: conflict"), UnavailableError),
        (CommError("returned error 413: too large"), RejectedError),
        (CommError("returned error 400: bad request"), RejectedError),
        (CommError("returned error 401: who are you"), TargetGoneError),
        (CommError("returned error 404: project"), TargetGoneError),
        (CommError("permission denied to access me/p"), TargetGoneError),
        (AuthenticationError("the key is too short"), TargetGoneError),
        (UsageError("api_key not configured (no-tty)"), TargetGoneError),
        (AuthenticationError("Failed to execute API request: the service process is busy"), UnavailableError),
        (Error("something else"), UnavailableError),
        (BrokenPipeError(), UnavailableError),
        (EOFError(), UnavailableError),
        (PermissionError("wandb/"), TargetGoneError),
        (TypeError("object is no JSON"), RejectedError),
    ],
)
def test_an_exception_becomes_the_error_that_says_who_mends_it(raised: Exception, expected: type[SinkError]) -> None:
    """Try later, never this item, or a person has to act; what cannot be told is worth another attempt."""
    with pytest.raises(expected, match=r"^Delivering: "), translated("Delivering"):
        raise raised


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("400", "413", "422"), RejectedError),
        (("401", "403", "404", "410"), TargetGoneError),
        (("408", "409", "429", "500", "503"), UnavailableError),
    ],
)
def test_a_status_says_who_mends_it(statuses: tuple[str, ...], expected: type[SinkError]) -> None:
    """A conflict is another request about the same run that was faster: it passes."""
    assert {of_status(status) for status in statuses} == {expected}


def test_no_message_has_a_key_or_a_page_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library quotes addresses and keys, on several lines."""
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    told = plain(CommError(f"no answer\n from https://me:{'k' * 40}@host/p, key {'k' * 40}"))
    assert told == "no answer from https://host/p, key ***"
