"""The run of Lightning's own MLflow logger, which is no active run of the process: our sink is led to it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

LOGGER: Final = "MLFlowLogger"


@contextmanager
def environment(loggers: Iterable[Any]) -> Iterator[None]:
    """Meanwhile the environment names the run of such a logger, as a side-car inherits it."""
    named = next((_run(one) for one in loggers if type(one).__name__ == LOGGER), {})
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(logger: Any) -> Mapping[str, str]:
    return {"MLFLOW_TRACKING_URI": str(logger._tracking_uri), "MLFLOW_RUN_ID": str(logger.run_id)}
