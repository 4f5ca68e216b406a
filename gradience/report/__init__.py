"""Records and event payloads as text and Markdown; used by the command line and by sinks alike."""
