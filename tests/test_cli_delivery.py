from pathlib import Path

from gradience.cli.delivery import Request
from gradience.mirror import catchup
from gradience.mirror.wish import Wish


def test_a_sink_gets_the_run_that_is_meant() -> None:
    """Where the adapter's reference tells it, and nobody named another."""
    request = Request(wishes=(), deadline_s=1, runs={"mlflow": "1"})
    assert request.meant(Wish(type="mlflow", options={"experiment": "x"})).options == {"experiment": "x", "run": "1"}
    assert request.meant(Wish(type="wandb", options={"project": "x"})).options == {"project": "x"}
    assert request.meant(Wish(type="mlflow", options={"run": "2"})).options == {"run": "2"}


def test_the_command_that_catches_up_leads_to_the_run_that_is_meant() -> None:
    """A file of sinks does not name it: from there the lines would go to another run."""
    request = Request(wishes=(), deadline_s=1, runs={"mlflow": "1"})
    wish = Wish(type="mlflow", source="sinks.yaml")
    assert catchup.command(Path("j"), request.meant(wish)) == "gradience sync j --to mlflow --run 1"
    assert catchup.command(Path("j"), wish) == "gradience sync j --sinks sinks.yaml"
