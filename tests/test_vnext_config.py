"""The configuration of a run, as people write it."""

from gradience.vnext.types import ConfigSnapshot, LoRAConfigSnapshot, TaskProfile


def test_numbers_written_as_text_are_numbers() -> None:
    """YAML reads 5e-5 as text."""
    config = ConfigSnapshot.from_dict({"optimizer": {"lr": "5e-5", "betas": [0.9, "0.99"]}, "lora": {"r": "8"}})
    assert (config.optimizer.lr, config.optimizer.betas, config.lora.r) == (5e-5, (0.9, 0.99), 8)


def test_what_does_not_fit_or_is_not_known_is_kept_beside() -> None:
    """In the nearest extras, so that nothing is lost and nothing raises."""
    config = ConfigSnapshot.from_dict(
        {
            "task_profile": "poetry",
            "lora": {"target_modules": "all-linear", "use_dora": True},
            "new": 1,
            "extras": {"a": 2},
        }
    )
    assert config.task_profile is TaskProfile.UNKNOWN
    assert config.extras == {"task_profile": "poetry", "new": 1, "a": 2}
    assert config.lora.extras == {"target_modules": "all-linear", "use_dora": True}


def test_alpha_over_r_is_derived() -> None:
    """Unless it is given, or r is 0."""
    snapshots = [
        LoRAConfigSnapshot(r=8, alpha=16),
        LoRAConfigSnapshot(r=8, alpha=16, alpha_over_r=1),
        LoRAConfigSnapshot(r=0, alpha=1),
    ]
    assert [snapshot.alpha_over_r for snapshot in snapshots] == [2.0, 1, None]


def test_a_configuration_survives_the_round_trip() -> None:
    """from_dict reads what to_dict gives."""
    config = ConfigSnapshot.from_dict(
        {"model_name": "m", "lora": {"r": 8, "alpha": 16}, "training": {"seed": 1}, "x": [1]}
    )
    assert ConfigSnapshot.from_dict(config.to_dict()) == config
