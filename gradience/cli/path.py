"""How every command takes a path: as it is. Reading it says what is wrong, in one line and with exit code 1."""

from pathlib import Path
from typing import Final

import click

A_PATH: Final = click.Path(path_type=Path, readable=False)
A_PLACE: Final = click.Path(path_type=str, readable=False)  # or a reference, whose slashes a Path would fold
