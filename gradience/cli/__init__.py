"""The command line: parse, call, print. One module per command; `main` is the only one that knows them all."""
