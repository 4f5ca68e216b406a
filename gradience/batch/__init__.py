"""An audit of many adapters: which ones are meant, one row each, through a few processes or a cluster.

What was measured is kept, so that a batch that was killed goes on where it was.
"""
