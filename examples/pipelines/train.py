"""A pipeline of a script and a YAML file.

python train.py train.yaml
python train.py train.yaml training.max_steps=100 training.output_dir=runs/long
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from training import train


def main(file: str, *changes: str) -> None:
    """Train as the file says, with changes of the form `section.key=value`."""
    settings: dict[str, Any] = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    for change in changes:
        place, _, value = change.partition("=")
        section, _, key = place.partition(".")
        settings[section][key] = yaml.safe_load(value)
    train(settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
