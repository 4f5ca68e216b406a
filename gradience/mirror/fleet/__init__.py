"""Many journals at once: which ones there are, how each stands, and who delivers them."""
