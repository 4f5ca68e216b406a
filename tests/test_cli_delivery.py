from gradience.cli.delivery import Request
from gradience.mirror.wish import Wish


def test_a_sink_gets_the_run_that_is_meant() -> None:
    """Where the adapter's reference tells it, and nobody named another."""
    request = Request(wishes=(), deadline_s=1, runs={"mlflow": "1"})
    assert request.meant(Wish(type="mlflow", options={"experiment": "x"})).options == {"experiment": "x", "run": "1"}
    assert request.meant(Wish(type="wandb", options={"project": "x"})).options == {"project": "x"}
    assert request.meant(Wish(type="mlflow", options={"run": "2"})).options == {"run": "2"}
