"""The command line, `ikp collect | train | evaluate | demo | data`: passes options to functions of the library."""

from ikp.cli.main import main, parsed, run_command

__all__ = ["main", "parsed", "run_command"]
