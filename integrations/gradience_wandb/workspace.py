"""The panels as a workspace of wandb-workspaces, which knows W&B's format; and the saving of it.

wandb-workspaces offers no way to a specification but its own private names, which stand here alone.
"""

import os
from typing import Any, Final

import wandb
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces.reports.v2 import interface as panels_of
from wandb_workspaces.workspaces import internal

from gradience_wandb import panels
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.panels import Panel
from gradience_wandb.place import Place

NAME: Final = "Gradience"
VIEW: Final = "gradience"  # as its address has it; one of each project: to save it again is to replace it
SAVE_S: Final = 30.0
_OPEN: Final = ("Training", "Evaluation", "Rank use", "Recommendations")


def spec(entity: str, project: str) -> dict[str, Any]:
    """The workspace as W&B keeps it, as plain JSON."""
    found: dict[str, Any] = _view(build(entity, project)).model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def loaded(told: dict[str, Any]) -> workspaces.Workspace:
    """The workspace of such a specification."""
    found: workspaces.Workspace = workspaces.Workspace._from_model(internal.View.model_validate(told))
    return found


def build(entity: str, project: str) -> workspaces.Workspace:
    """The workspace, saved nowhere yet."""
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            workspaces.Section(
                name=section.name, panels=[_panel(panel) for panel in section.panels], is_open=section.name in _OPEN
            )
            for section in panels.SECTIONS
        ],
        settings=workspaces.WorkspaceSettings(x_axis=panels.X_AXIS),
        runset_settings=workspaces.RunsetSettings(pinned_columns=list(panels.COLUMNS)),
        auto_generate_panels=False,
    )


def save(place: Place, project: str) -> str:
    """Save the workspace to a project of whoever is logged in, in place of the one that was saved before; its URL.

    Raises:
        SinkError: the server cannot be reached, or does not let us.
    """
    core, what = Core(place), f"Saving the dashboard to W&B at {place.address}"
    try:
        with translated(what, opening=True), core.bounded(SAVE_S, what):
            entity = place.entity or core.default_entity()
            if place.server is not None:
                os.environ["WANDB_BASE_URL"] = place.server  # where wandb-workspaces looks
            view = _view(build(entity, project))
            view.id = _earlier(entity, project)
            internal.upsert_view2(view)
            return f"{core.page}/{entity}/{project}?nw={VIEW}"
    finally:
        core.end()


def _earlier(entity: str, project: str) -> str:
    """The id of the one that was saved before; empty without one."""
    try:
        return str(internal.get_view_dict(entity, project, VIEW)["id"])
    except ValueError as error:
        if "not found in project" in str(error):
            return ""
        raise wandb.errors.CommError(str(error)) from None


def _view(workspace: workspaces.Workspace) -> internal.View:
    view = workspace._to_model()
    view.name = internal._url_query_str_to_internal_name(VIEW)
    return view


def _panel(panel: Panel) -> Any:
    if panel.kind == "number":
        return panels_of.ScalarChart(title=panel.title, metric=panel.keys[0])
    if panel.kind == "bars":
        return panels_of.BarPlot(title=panel.title, metrics=list(panel.keys))
    if panel.kind == "table":
        return panels_of.WeavePanelSummaryTable(table_name=panel.keys[0])
    return panels_of.LinePlot(
        title=panel.title, x=panels.X_AXIS, metric_regex=panel.pattern, log_y=True if panel.is_log else None
    )
