"""`python -m harmony` is the `harmony` command."""

from harmony.cli import main

if __name__ == "__main__":
    main(prog_name="harmony")
