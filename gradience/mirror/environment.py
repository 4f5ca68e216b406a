"""The environment of a process that belongs to a sink: its bounds on time and retries, without what would hijack it."""

import os
from collections.abc import Mapping, MutableMapping


def enter(wanted: Mapping[str, str | None], environ: MutableMapping[str, str] = os.environ) -> None:
    """Make the environment what a sink's `process_env` asks for; None removes a variable."""
    for name, value in wanted.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
