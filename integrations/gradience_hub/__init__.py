"""Adapters on the Hugging Face Hub; importing this package does not import huggingface_hub."""

from gradience_hub.resolver import HubResolver

__all__ = ["HubResolver"]
