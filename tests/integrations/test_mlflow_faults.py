"""Tests of `gradience_mlflow.faults`: MLflow's exceptions as ours."""

import pytest

pytest.importorskip("mlflow")

from gradience_mlflow.faults import translated
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from requests.exceptions import ConnectTimeout

from gradience.errors import GradienceError, RejectedError, TargetGoneError, UnavailableError


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MlflowException("API request failed with timeout exception"), UnavailableError),
        (MlflowException("busy", error_code=codes.TEMPORARILY_UNAVAILABLE), UnavailableError),
        (MlflowException("slow down", error_code=codes.REQUEST_LIMIT_EXCEEDED), UnavailableError),
        (ConnectTimeout("connect"), UnavailableError),
        (ConnectionRefusedError(), UnavailableError),
        (MlflowException("bad key", error_code=codes.INVALID_PARAMETER_VALUE), RejectedError),
        (MlflowException("bad row", error_code=codes.BAD_REQUEST), RejectedError),
        (MlflowException("failed with error code 413 != 200"), RejectedError),
        (TypeError("bad type"), RejectedError),
        (OverflowError("int too large"), RejectedError),
        (MlflowException("no such run", error_code=codes.RESOURCE_DOES_NOT_EXIST), TargetGoneError),
        (MlflowException("login", error_code=codes.UNAUTHENTICATED), TargetGoneError),
        (MlflowException("not yours", error_code=codes.PERMISSION_DENIED), TargetGoneError),
        (MlflowException("no MLflow here", error_code=codes.ENDPOINT_NOT_FOUND), TargetGoneError),
        (
            MlflowException("The run r must be in the 'active' state.", error_code=codes.INVALID_PARAMETER_VALUE),
            TargetGoneError,
        ),
        (MlflowException("Detected out-of-date database schema"), TargetGoneError),
        (ModuleNotFoundError("No module named 'psycopg2'"), TargetGoneError),
    ],
)
def test_an_exception_becomes_the_error_that_says_who_mends_it(
    raised: Exception, expected: type[GradienceError]
) -> None:
    """Try later, never this item, or a person has to act."""
    with pytest.raises(expected, match=r"^Delivering: "), translated("Delivering"):
        raise raised


def test_nothing_is_rejected_while_a_run_is_opened() -> None:
    """There is no item to drop: a person has to act."""
    refused = MlflowException("bad store", error_code=codes.INVALID_PARAMETER_VALUE)
    with pytest.raises(TargetGoneError, match="bad store"), translated("Opening", opening=True):
        raise refused


def test_an_exception_that_tells_nothing_passes() -> None:
    """Whoever drains takes it for a fault of the batch when it comes again."""
    with pytest.raises(ZeroDivisionError), translated("Delivering"):
        raise ZeroDivisionError


def test_our_own_errors_pass() -> None:
    """What was said once is not said twice."""
    with pytest.raises(TargetGoneError, match=r"^gone$"), translated("Delivering"):
        raise TargetGoneError("gone")


def test_a_message_is_one_line_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the address's user info, nor the environment's token, nor a traceback of the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    leaky = MlflowException("API request to http://user:secret@host/api failed, Bearer t0ken\nTraceback: ...")
    with pytest.raises(UnavailableError) as caught, translated("Delivering"):
        raise leaky
    assert str(caught.value) == "Delivering: API request to http://host/api failed, Bearer ***"
    assert caught.value.__suppress_context__
