"""Mirroring while a run is recorded, by a drain that runs beside the recorder and outlives it for a while.

In the recorder's process:

    recording   the mirror of one recorder: what `TelemetryWriter` begins and closes
    supervisor  keeps one drain alive, and sees it off
    hosts       where the drain runs: a process of its own, or a thread
    news        what a person should know of it

In the drain's own:

    sidecar     the process
    spec        what it is told when it starts
    follow      its work: the loop of `sync`, for as long as lines may come
    vigil       when it waits, hurries and leaves
    presence    whether the recorder is still at work
"""
