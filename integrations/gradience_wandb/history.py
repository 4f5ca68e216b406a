"""Runs that W&B has, as what `gradience import` asks for; wandb itself is imported when one is read."""

from gradience.history.history import History, Progress


class WandbHistories:
    """The runs of a server, and those that were recorded offline."""

    def read(self, address: str, *, tracking_uri: str | None, progress: Progress | None) -> History:
        """The run ENTITY/PROJECT/RUN, or that of an offline directory or its `.wandb` file.

        Raises:
            InputError: there is no such run, or the server does not answer.
            ImportError: wandb is not installed.
        """
        from gradience_wandb import imported

        return imported.read(address, tracking_uri, progress)
