"""For authors of sinks: an honest sink in memory, and the suite that every sink must pass."""

from gradience.testing import samples
from gradience.testing.conformance import check_sink
from gradience.testing.memory import Fault, Killed, MemoryRun, MemorySink, MemoryTracker

__all__ = ["Fault", "Killed", "MemoryRun", "MemorySink", "MemoryTracker", "check_sink", "samples"]
