"""The mirror: delivery of a journal into trackers, from a cursor, at least once and with idempotent effects."""
