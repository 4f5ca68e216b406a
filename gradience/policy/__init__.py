"""What the mechanic thinks: pure functions from records to findings. Nothing here imports torch or reads a file."""
