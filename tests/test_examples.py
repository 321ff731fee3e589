"""The examples and the README's Python run as printed, with fewer demonstrations and steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
LONGEST = 80
"""Lines of an example; a longer one explains too much at once."""


def run(code: str, folder: Path) -> str:
    """Run a script in a folder of its own; return what it prints."""
    path = folder / "script.py"
    path.write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(path)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def with_sizes(code: str, **sizes: int) -> str:
    """An example with other values of the constants at its top."""
    for name, value in sizes.items():
        code = re.sub(
            rf"^{name}(, \w+)? = \d+", lambda m, v=value: f"{m[0].rpartition(' ')[0]} {v}", code, flags=re.M
        )
    return code


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    code = path.read_text()
    assert len(code.splitlines()) <= LONGEST
    printed = run(with_sizes(code, EPISODES=4, STEPS=4), tmp_path)
    assert printed.strip()


def test_there_are_numbered_examples():
    assert [path.name[:2] for path in EXAMPLES] == [f"{i + 1:02d}" for i in range(len(EXAMPLES))]
    assert len(EXAMPLES) >= 5


def test_the_readme_runs_as_printed(tmp_path):
    text = (ROOT / "README.md").read_text()
    before, _, after = text.partition("```python\n")
    assert len(before.splitlines()) < 60, "code comes early"
    code = after.partition("```")[0]
    assert len(code.strip().splitlines()) <= 14
    sizes = {'"first/data", 200': '"first/data", 4', "steps=1000": "steps=4", "episodes=20": "episodes=2"}
    for printed, reduced in sizes.items():
        assert printed in code
        code = code.replace(printed, reduced)
    assert re.search(r"^[01]\.\d+$", run(code, tmp_path), flags=re.M), "the success rate is printed last"
