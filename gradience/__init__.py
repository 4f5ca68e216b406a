"""Gradience: telemetry-first observability for LoRA / PEFT fine-tuning.

The journal (one JSONL file per run) is the source of truth; every tracker is a view of it that can be rebuilt.
Importing this package imports neither torch nor numpy nor a tracker.
"""

__version__ = "0.1.0"
