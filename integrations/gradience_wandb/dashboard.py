"""A dashboard for the runs of a W&B project; wandb and wandb-workspaces are imported when one is made."""

import os
from pathlib import Path
from typing import Any, Final

from gradience.errors import InputError
from gradience_wandb import place
from gradience_wandb.place import ONLINE, Wish

_ANYBODY: Final = "entity"  # in a specification that is for no certain one


class WandbDashboard:
    """A saved view of a project, with sections for training, evaluation, ranks, spectra, recommendations and alerts.

    Args:
        entity: whose project it is; else WANDB_ENTITY, W&B's settings, whoever is logged in.
        project: the project; else WANDB_PROJECT, W&B's settings.

    Raises:
        InputError: W&B's settings make no sense.
        ImportError: wandb or wandb-workspaces is not installed, or too old.
    """

    def __init__(self, *, entity: str | None = None, project: str | None = None) -> None:
        from gradience_wandb import workspace

        self._workspace = workspace
        self._place = place.resolve(Wish(entity=entity, project=project), os.environ, Path.cwd())
        self.is_offline = self._place.mode != ONLINE

    def spec(self) -> dict[str, Any]:
        """The view as W&B keeps it."""
        return self._workspace.spec(self._place.entity or _ANYBODY, self._place.project_for(None))

    def save(self) -> str:
        """Save it to the project; its URL.

        Raises:
            InputError: nobody says which project.
            SinkError: the server cannot be reached, or does not let us.
        """
        if self._place.project is None:
            raise InputError("cannot tell which project the dashboard is for: give --project, or set WANDB_PROJECT")
        return self._workspace.save(self._place, self._place.project)
