"""The command `ikp`, also `python -m ikp`. It imports the command line itself, so that Ctrl-C ends that in one line."""

import sys
from collections.abc import Sequence

from ikp.interrupts import imports_end_quietly


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status as `ikp.cli.main` does."""
    with imports_end_quietly("ikp"):
        from ikp.cli import main as run
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
