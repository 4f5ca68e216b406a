"""Gradience's telemetry in Trackio; importing this package imports no Trackio."""

from gradience_trackio.sink import TrackioSink

__all__ = ["TrackioSink"]
