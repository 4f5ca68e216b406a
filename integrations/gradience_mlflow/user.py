"""Who is at work here, as MLflow names its users."""

import getpass


def name() -> str:
    """The login name; "unknown", as in MLflow, where there is none."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container whose user has no name
        return "unknown"
