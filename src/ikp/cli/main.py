"""Arguments to commands, errors to one line."""

from __future__ import annotations

import functools
import inspect
import operator
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from ikp.cli.calibrate import Calibrate
from ikp.cli.collect import Collect
from ikp.cli.data import Data
from ikp.cli.demo import Demo
from ikp.cli.evaluate import Evaluate
from ikp.cli.robot import Deploy, Record, Replay
from ikp.cli.train import Train
from ikp.cli.view import View
from ikp.interrupts import sigterm_interrupts

DEBUG = "IKP_DEBUG"
"""Environment variable: set it to see the traceback of an error."""
DESCRIPTION = """Robot policies that see every action in joint and Cartesian space at once.

Start with `ikp demo`, or step by step:
  ikp collect --out data/insertion
  ikp train --data data/insertion --out runs/insertion
  ikp evaluate --policy runs/insertion --video runs/insertion/rollouts.mp4

On a robot or its simulated twin: ikp record, train, deploy; replay and view show what was recorded and decided.

After Ctrl-C or a kill, run collect, record and demo again, and train with --resume: they continue.
`ikp COMMAND --help` shows all options and examples, `ikp --version` the version; IKP_DEBUG=1 shows tracebacks."""
COMMANDS = {
    "collect": Collect, "train": Train, "evaluate": Evaluate, "demo": Demo, "data": Data,
    "calibrate": Calibrate, "record": Record, "replay": Replay, "deploy": Deploy, "view": View,
}  # fmt: skip
"""Commands by name; the attribute `HINT` of each says what to do after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status as `run_command` does, and 2 for wrong arguments."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--version"]:
        import ikp

        print(f"ikp {ikp.__version__}")
        return 0
    command = COMMANDS.get(arguments[0]) if arguments else None
    return run_command(lambda: parsed(arguments).run(), "ikp", command.HINT if command else "")


def run_command(run: Callable[[], None], program: str, hint: str) -> int:
    """Run a program and print errors and warnings as one line each.

    Returns:
        The exit status: 0, 1 for an error, 130 for Ctrl-C, 143 for SIGTERM.

    Args:
        run: parses the arguments and does the work.
        program: its name, for messages.
        hint: how to continue after Ctrl-C or SIGTERM.
    """
    warnings.filterwarnings("ignore", message=".*lowering.*", module="torch")
    with sigterm_interrupts() as terminated, _warnings_as_lines(program):
        return _ended(run, program, hint, terminated)


def _ended(run: Callable[[], None], program: str, hint: str, terminated: list[int]) -> int:
    try:
        run()
    except KeyboardInterrupt as error:
        name = "SIGTERM" if terminated else "Ctrl-C"
        print(f"\n{program}: stopped by {name}: {_line(error) or hint}", file=sys.stderr)
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
    except BrokenPipeError:  # the reader of the output, a pager or `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"{program}: error: {_line(error)}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: (
        f"{program}: warning: {' '.join(str(message).split())}\n"
    )
    try:
        yield
    finally:
        warnings.formatwarning = before


def parsed(
    arguments: Sequence[str],
) -> Collect | Train | Evaluate | Demo | Data | Calibrate | Record | Replay | Deploy | View:
    """The command with its options; ends the process with help or an error where there is nothing to run."""
    chosen = arguments[0] if arguments else ""
    _refuse_repeated_data(arguments)
    described: Any = tuple(
        Annotated[command, subcommand(name, description=_description(command, in_full=name == chosen))]
        for name, command in COMMANDS.items()
    )
    commands = functools.reduce(operator.or_, described)
    return tyro.cli(
        commands,
        prog="ikp",
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )


def _refuse_repeated_data(arguments: Sequence[str]) -> None:
    """Refuse data folders behind two options, of which the last alone would count.

    Raises:
        ValueError: there are two.
    """
    if sum(word.partition("=")[0] == "--data" for word in arguments) > 1:
        raise ValueError("--data is given twice: write all folders behind one, as --data A B")


def _description(command: type, *, in_full: bool) -> str:
    """A command's docstring without its attributes; only the first line for the list of all commands."""
    text = (inspect.getdoc(command) or "").partition("\nAttributes:")[0].rstrip()
    return text if in_full else text.partition("\n")[0]


def _line(error: BaseException) -> str:
    """An error's message on one line; its kind where it has none."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # without the number of the error
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(text.split()) or ("" if isinstance(error, KeyboardInterrupt) else type(error).__name__)
