from pathlib import Path

import pytest
from gradience_wandb import onward
from gradience_wandb.place import Wish, resolve

from gradience.mirror.sink import Run

RUN = Run(run_id="r", journal="/runs/my run.jsonl", started=0.0)
GO = "gradience sync '/runs/my run.jsonl' --to wandb"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(), f"WANDB_MODE=online {GO}"),
        (Wish(project="p", entity="e"), f"WANDB_MODE=online {GO} --project p --entity e"),
        (Wish(run="e/p/1"), f"WANDB_MODE=online {GO} --run e/p/1"),
        (
            Wish(base_url="https://me:secret@w.example.org/"),
            f"WANDB_MODE=online WANDB_BASE_URL=https://w.example.org {GO}",
        ),
    ],
)
def test_the_command_leads_to_where_the_run_was_meant_to_go(wish: Wish, said: str) -> None:
    """Whatever W&B's settings say by then; without a credential."""
    assert onward.command(resolve(wish, {"WANDB_MODE": "offline"}, Path("/runs")), wish, RUN) == said


def test_a_project_of_the_environment_is_in_it() -> None:
    """It may be another shell's."""
    place = resolve(Wish(), {"WANDB_MODE": "offline", "WANDB_PROJECT": "sft"}, Path("/runs"))
    assert onward.command(place, Wish(), RUN) == f"WANDB_MODE=online {GO} --project sft"
