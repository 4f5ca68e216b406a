"""Tensors in files: where each one lies, and its numbers, read without trusting the file."""
