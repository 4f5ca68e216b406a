"""Readers of training configurations: text in, `ConfigSnapshot` out."""
