"""Weights & Biases as a view of the journal, and its artifacts as adapters; importing this package imports no wandb.

    sink          the class that the registry loads
    place         which server and project, or which directory, is meant
    core          the wandb-core of this process: started, bounded, ended
    locate        which run is meant
    session       one open run of ours: batches in, rows out
    contents      what a batch becomes in W&B's terms
    artifacts     an audit as files and as a table
    active        the run that is live in this process
    attached      ... as far as one can add to it
    foreign       a run of somebody else's that is meant
    adoption      ... recognised by what its tracker logged
    guest         what it receives
    finished      ... over the public API
    supplement    ... from a directory beside its own, when it was recorded offline
    recorded      what such directories tell
    known         what W&B holds of a run, and what is expected to be read back
    remote        ... from a server
    fragments     ... from the files of an offline run
    transactions  the format of those files
    waiting       for what W&B does by itself
    published     the audit that a run holds already
    onward        what brings an offline run to the server
    faults        its exceptions as ours
    probing       whether it can be used, without a run
    resolver      the class that fetches adapters which are artifacts
    artifact      ... in a process of its own
    history       the class that `gradience import` reads runs by
    imported      ... from a server, or from an offline run's file
    dashboard     the class that `gradience dashboard` makes
    panels        which panels it has: keys that we write
    workspace     ... as a view of W&B's, and the saving of it

All but `sink`, `place`, `active`, `onward`, `resolver`, `history` and `dashboard` are imported by the first `open`, or
in another process.
"""

from gradience_wandb.dashboard import WandbDashboard
from gradience_wandb.history import WandbHistories
from gradience_wandb.resolver import ArtifactResolver
from gradience_wandb.sink import WandbSink

__all__ = ["ArtifactResolver", "WandbDashboard", "WandbHistories", "WandbSink"]
