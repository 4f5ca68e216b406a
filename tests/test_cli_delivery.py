from gradience.cli.delivery import Request


def test_a_sink_gets_the_run_that_is_meant() -> None:
    """Where the adapter's reference tells it, and nobody named another."""
    request = Request(names=("mlflow", "wandb"), options={"experiment": "x"}, deadline_s=1, runs={"mlflow": "1"})
    assert request.options_of("mlflow") == {"experiment": "x", "run": "1"}
    assert request.options_of("wandb") == {"experiment": "x"}
    named = Request(names=("mlflow",), options={"run": "2"}, deadline_s=1, runs={"mlflow": "1"})
    assert named.options_of("mlflow") == {"run": "2"}
