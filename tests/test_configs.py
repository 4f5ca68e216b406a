"""Every file under configs/ is read as it says."""

from pathlib import Path

from gradience.settings import sources
from gradience.vnext.types import ConfigSnapshot, TaskProfile

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_whole_configuration_is_understood() -> None:
    """Each key of the example has a field of its own, and each field that has a name is in the example."""
    config = ConfigSnapshot.from_dict(sources.settings(CONFIGS / "run.yaml"))
    parts = (config, config.optimizer, config.lora, config.training)
    assert [part.extras for part in parts] == [{}, {}, {}, {}]
    assert config.task_profile is TaskProfile.HARD_REASONING
    assert [name for part in parts for name in part.__struct_fields__ if getattr(part, name) in (None, [])] == []
