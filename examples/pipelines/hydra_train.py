"""The same with Hydra: Gradience is a group of its configuration, so that a run can be told to do without.

python hydra_train.py
python hydra_train.py gradience=off training.learning_rate=1e-3
python hydra_train.py --multirun lora.r=4,8,16
"""

from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf
from training import train


@hydra.main(config_path="conf", config_name="config", version_base=None)
def main(config: DictConfig) -> None:
    """Train as the configuration says."""
    train(cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True)))


if __name__ == "__main__":
    main()
