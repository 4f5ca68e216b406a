"""The stable contract v1: types, writer and reader of the canonical telemetry file (see SCHEMA.md).

Nothing here imports torch, numpy or a tracker.
"""
