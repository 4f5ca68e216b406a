"""`python -m gradience`: the command line."""

from gradience.cli.main import main

if __name__ == "__main__":
    main()
