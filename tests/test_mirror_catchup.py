from pathlib import Path

from gradience.mirror import catchup


def test_the_command_can_be_typed_as_it_stands() -> None:
    """Options become flags; what a shell would take apart is quoted."""
    options = {"tracking_uri": "http://tracker", "experiment": "my runs"}
    said = catchup.command(Path("my run.jsonl"), "mlflow", options, Path("state"))
    flags = "--tracking-uri http://tracker --experiment 'my runs' --state-dir state"
    assert said == f"gradience sync 'my run.jsonl' --to mlflow {flags}"


def test_the_command_shows_no_credentials() -> None:
    """It goes to logs."""
    said = catchup.command(Path("run.jsonl"), "mlflow", {"tracking_uri": "https://me:secret@tracker"})
    assert "secret" not in said
