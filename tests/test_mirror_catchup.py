from pathlib import Path

from gradience.cli import sync
from gradience.mirror import catchup
from gradience.mirror.wish import Wish


def test_the_command_can_be_typed_as_it_stands() -> None:
    """Options become flags; what a shell would take apart is quoted."""
    options = {"tracking_uri": "http://tracker", "experiment": "my runs"}
    said = catchup.command(Path("my run.jsonl"), Wish(type="mlflow", options=options), Path("state"))
    flags = "--tracking-uri http://tracker --experiment 'my runs' --state-dir state"
    assert said == f"gradience sync 'my run.jsonl' --to mlflow {flags}"


def test_only_what_can_be_typed_is_said() -> None:
    """Any other option would be a usage error, and may be a secret; `sync` has each one that is said."""
    wish = Wish(type="webhook", options={"url": "https://hooks/secret", "format": "slack", "run": "r"})
    assert catchup.command(Path("run.jsonl"), wish) == "gradience sync run.jsonl --to webhook --run r"
    assert set(catchup.TYPED) <= {parameter.name for parameter in sync.command.params}


def test_the_command_shows_no_credentials() -> None:
    """It goes to logs."""
    options = {"tracking_uri": "https://me:secret@tracker", "api_key": "short"}
    said = catchup.command(Path("run.jsonl"), Wish(type="mlflow", options=options))
    assert said == "gradience sync run.jsonl --to mlflow --tracking-uri https://tracker"


def test_a_journal_that_was_replaced_is_delivered_from_its_start() -> None:
    """No other command would be of use."""
    said = catchup.command(Path("run.jsonl"), Wish(type="mlflow"), from_start=True)
    assert said == "gradience sync run.jsonl --to mlflow --from-start"
