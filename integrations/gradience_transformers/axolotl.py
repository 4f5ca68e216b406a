"""Gradience in an axolotl pipeline: a line under `plugins:`, and a key for the callback's options.

plugins:
  - gradience_transformers.AxolotlPlugin
gradience:
  sinks: [mlflow]
  audit: save
"""

import inspect
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel

from gradience.errors import InputError
from gradience.settings.nearest import nearest
from gradience_transformers.callback import GradienceCallback


class Arguments(BaseModel):
    """What axolotl's schema learns: the key `gradience`, with the arguments of GradienceCallback."""

    gradience: dict[str, Any] | None = None


class AxolotlPlugin(BasePlugin):  # type: ignore[misc]
    """Records every training of the pipeline."""

    def get_input_args(self) -> str:
        """The model of our key, by the name that axolotl imports it by."""
        return f"{Arguments.__module__}.{Arguments.__name__}"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[GradienceCallback]:
        """Our callback, behind those of the trackers, whose runs it joins.

        Raises:
            GradienceError: An option is unknown, or names what is not there.
        """
        given = dict(cfg.gradience or {})
        known = inspect.signature(GradienceCallback).parameters
        for name in given:
            if name not in known:
                meant = nearest(name, known)
                mend = f"did you mean {meant}?" if meant else f"it takes {', '.join(known)}"
                raise InputError(f"cannot read `gradience` in the configuration: no option {name}; {mend}")
        return [GradienceCallback(**given)]
