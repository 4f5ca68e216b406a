"""What is on disk: which files are an adapter, what their config and keys mean, and the modules that they make."""
