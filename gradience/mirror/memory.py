"""Where a journal is mirrored already: the place that is meant when nobody names one.

A tracker's own default may depend on the working directory; from another one, the same command would start a second
store and a second tracked run without a word.
"""

import logging
from pathlib import Path

from gradience.mirror.cursor import cursors
from gradience.mirror.sink import Sink

log = logging.getLogger("gradience.mirror")


def recall(path: Path, sink: Sink, state_dir: Path | None = None) -> Sink:
    """`sink`, or one for the only target that has taken lines of the journal, where the sink's own is but a default.

    A sink that may be led elsewhere has a method `at(target)`, which gives the sink for a target, or None when its own
    was chosen by somebody.
    """
    lead = getattr(sink, "at", None)
    targets = [cursor.target for _place, cursor in cursors(path, state_dir) if cursor.sink == sink.name]
    if lead is None or sink.target in targets or len(targets) != 1:
        return sink
    found: Sink | None = lead(targets[0])
    if found is None:
        return sink
    log.warning("%s: no place is named, so the one that %s is mirrored to is used: %s", sink.name, path, found.target)
    return found
