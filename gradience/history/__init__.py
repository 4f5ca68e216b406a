"""Runs that others recorded, as events of ours: their file or answer in, event dicts out; nothing is fetched here."""
