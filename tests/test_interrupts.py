"""Ctrl-C and SIGTERM end every command with one line, imports included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from ikp.cli import run_command

IMPORTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "tyro":
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
sys.meta_path.insert(0, Finder())
from importlib import import_module
sys.exit(import_module(sys.argv[1] + ".__main__").main(["--help"]))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("package", ["ikp", "ikp_paper"])
def test_a_signal_during_the_imports_is_one_line(package, name, status):
    command = [sys.executable, "-c", IMPORTING, package, name]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.strip() == f"{package.replace('_', '-')}: stopped"


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_during_the_work_tells_how_to_continue(number, status, name, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert run_command(lambda: os.kill(os.getpid(), number), "ikp", "add --resume") == status
    assert capsys.readouterr().err == f"\nikp: stopped by {name}: add --resume\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_commands_run_in_other_threads_too():
    found = []
    thread = threading.Thread(target=lambda: found.append(run_command(lambda: None, "ikp", "")))
    thread.start()
    thread.join()
    assert found == [0]


@pytest.mark.parametrize("package", ["ikp", "ikp_paper"])
def test_packages_are_commands(package):
    command = [sys.executable, "-m", package, "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"usage: {package.replace('_', '-')}" in shown
