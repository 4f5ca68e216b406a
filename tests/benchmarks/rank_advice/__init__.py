"""Which rules of rank advice can be trusted: adapters of planted rank, and what every known rule says of them."""
