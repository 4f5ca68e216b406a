"""What wandb-workspaces asks for: the saved views of a project."""

from tests.integrations.wandb_double.answer import Answer, Data, RefusedError, Variables, page
from tests.integrations.wandb_double.held import Held, View


class Viewing:
    """The operations on saved views. A project is there once it has a run."""

    def __init__(self, held: Held) -> None:
        self._held = held

    @property
    def answers(self) -> dict[str, Answer]:
        """By the name of the operation."""
        return {"View": self._found, "UpsertView2": self._upsert}

    def _found(self, said: Variables) -> Data:
        place = (said["entityName"], said["name"])
        if all((run.entity, run.project) != place for run in self._held.runs.values()):
            return {"project": None}
        views = [
            {"id": one.id, "displayName": one.title, "spec": one.spec}
            for one in self._held.views
            if (one.entity, one.project, one.name) == (*place, said["viewName"])
        ]
        return {"project": {"allViews": page(views)}}

    def _upsert(self, said: Variables) -> Data:
        known = [one for one in self._held.views if one.id == said.get("id")]
        if said.get("id") and not known:
            raise RefusedError(404, f"view {said['id']} not found")
        made = View(
            id=known[0].id if known else f"view-{len(self._held.views)}",
            entity=said["entityName"],
            project=said["projectName"],
            name=said["name"],
            title=said["displayName"],
            spec=said["spec"],
        )
        self._held.views = [*(one for one in self._held.views if one.id != made.id), made]
        return {"upsertView": {"view": {"id": made.id, "name": made.name}, "inserted": not known}}
