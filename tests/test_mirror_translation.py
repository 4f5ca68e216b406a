"""Tests of `gradience.mirror.translation`: what a tracker's library raises, as a sink raises it."""

import pytest

from gradience.errors import InputError, RejectedError, SinkError, TargetGoneError, UnavailableError
from gradience.mirror.translation import shown, translated


def _kind(error: Exception) -> type[SinkError] | None:
    return {TimeoutError: UnavailableError, ValueError: RejectedError}.get(type(error))


@pytest.mark.parametrize(
    ("raised", "expected"), [(TimeoutError("slow"), UnavailableError), (ValueError(), RejectedError)]
)
def test_an_exception_becomes_the_error_of_its_kind(raised: Exception, expected: type[SinkError]) -> None:
    """The message begins with what was attempted, and has no cause that could tell more."""
    with pytest.raises(expected, match=r"^Delivering: it is so$") as caught, translated("Delivering", _kind, _so):
        raise raised
    assert caught.value.__cause__ is None


def test_nothing_is_rejected_while_a_run_is_opened() -> None:
    """There is no item to drop: a person has to act."""
    with pytest.raises(TargetGoneError), translated("Opening", _kind, _so, opening=True):
        raise ValueError


@pytest.mark.parametrize("error", [ZeroDivisionError(), InputError("no such file")])
def test_what_tells_nothing_or_is_told_already_passes(error: Exception) -> None:
    """Whoever drains takes the one for a fault of the batch when it comes again; the other needs no translation."""
    with pytest.raises(type(error)) as caught, translated("Delivering", _kind, _so):
        raise error
    assert caught.value is error


def test_words_of_a_library_are_shown_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user of an address nor what a variable holds, and a whole page of them is cut."""
    monkeypatch.setenv("TRACKER_KEY", "k3y")
    text = shown("http://me:pass@host/k3y " + "x" * 1000, ["TRACKER_KEY", "NOT_SET"])
    assert text.startswith("http://host/*** xxx")
    assert len(text) == 401


def _so(_error: Exception) -> str:
    return "it is so"
