"""What brings a run that was recorded offline to the server: its journal, delivered anew, which shows nothing twice."""

from pathlib import Path

import msgspec

from gradience.mirror import catchup
from gradience.mirror.sink import Run
from gradience.mirror.wish import Wish as Asked
from gradience_wandb.place import ONLINE, Place, Wish


def command(place: Place, wish: Wish, run: Run) -> str:
    """What to type once there is a network, wherever W&B's settings lead by then."""
    named = {"project": place.project, "entity": place.entity, "run": wish.run}
    asked = Asked(type="wandb", options={name: value for name, value in named.items() if value})
    server = f" WANDB_BASE_URL={msgspec.structs.replace(place, mode=ONLINE).address}" if wish.base_url else ""
    return f"WANDB_MODE={ONLINE}{server} {catchup.command(Path(run.journal), asked)}"
