"""Adapters that are artifacts of Weights & Biases; importing this package does not import wandb."""

from gradience_wandb.resolver import ArtifactResolver

__all__ = ["ArtifactResolver"]
