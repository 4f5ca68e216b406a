"""Dashboards that trackers are given: pages of panels that show what our sinks write.

A tracker's package offers its own under the entry-point group `gradience.dashboards`; none is imported until it is
asked for.
"""

from importlib import metadata
from typing import Any, Final, Protocol

from gradience.errors import ExtraMissingError, InputError
from gradience.settings.nearest import nearest

GROUP: Final = "gradience.dashboards"


class Dashboard(Protocol):
    """One dashboard; nothing is contacted until it is saved."""

    is_offline: bool
    """Whether the tracker is one that lives in a folder, where no page is."""

    def spec(self) -> dict[str, Any]:
        """The dashboard as its tracker's own tool loads it, as plain JSON."""

    def save(self) -> str:
        """Put it where people look, in place of the one that was saved before; its URL.

        Raises:
            SinkError: the tracker cannot be reached, or does not let us.
        """


def load(name: str, *, entity: str | None, project: str | None) -> Dashboard:
    """The dashboard for a project of a tracker.

    Raises:
        InputError: nothing that is installed has one for it, or it needs to know more.
        ExtraMissingError: what makes it is not installed.
    """
    offered = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    if name not in offered:
        meant = nearest(name, offered)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(offered)) or 'none'}"
        raise InputError(f"cannot make a dashboard for {name}: nothing installed here has one; {hint}")
    try:
        made: Dashboard = offered[name].load()(entity=entity, project=project)
    except ImportError as error:
        raise ExtraMissingError(
            f"cannot make a dashboard for {name}: {error}; in a checkout: pip install -e '.[dashboard]'"
        ) from None
    return made
