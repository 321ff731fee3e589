"""The command `ikp-paper`, also `python -m ikp_paper`."""

import sys
from collections.abc import Sequence

from ikp.interrupts import imports_end_quietly


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status as `ikp_paper.cli.main` does."""
    with imports_end_quietly("ikp-paper"):
        from ikp_paper.cli import main as run
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
