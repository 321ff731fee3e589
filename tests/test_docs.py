"""The commands and the Python of README.md and docs/ work, and links lead to headings that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from ikp.cli import parsed
from ikp_paper.cli import Reproduce

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {
    "getting_started": ("python", "sh"),
    "your_robot": ("python",),
    "your_data": ("python", "sh"),
    "own_environment": ("python",),
    "calibration": ("python", "sh"),
}
"""Pages that are run from top to bottom in one folder, and the languages of their blocks that are run."""
SMALLER = {
    "collect": ["--episodes", "4", "--workers", "1"],
    "train": ["--steps", "2", "--batch-size", "4", "--width", "16"],
    "evaluate": ["--episodes", "1"],
    "data": [],
    "calibrate": [],
}
"""Options that are added to the commands of a page that is run."""
ARM = (
    '<robot name="arm"><link name="base"/><link name="arm"/><link name="tool0"/>'
    '<joint name="turn" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 0 1"/>'
    '<limit lower="-2" upper="2" velocity="2" effort="9"/></joint><joint name="tool" type="fixed">'
    '<parent link="arm"/><child link="tool0"/><origin xyz="0.3 0 0"/></joint></robot>'
)


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.M | re.S)


def commands(page: Path, program: str) -> list[list[str]]:
    """The arguments of a program in the page's shell blocks."""
    shell = "".join(content for language, content in blocks(page.read_text()) if language == "sh")
    lines = [shlex.split(line, comments=True) for line in shell.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words[:1] == [program]]


def anchors(text: str) -> set[str]:
    """The ids of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_commands_are_understood(page):
    for arguments in commands(page, "ikp"):
        parsed(arguments)


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_commands_of_the_paper_are_understood(page):
    for arguments in commands(page, "ikp-paper"):
        tyro.cli(Reproduce, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_links_lead_to_headings(page):
    missing = []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        other = page.parent / target if target else page
        if anchor not in anchors(other.read_text()):
            missing.append(f"{target}#{anchor}")
    assert not missing


@pytest.mark.parametrize("name", RUN)
def test_a_page_runs_from_top_to_bottom(name, tmp_path):
    (tmp_path / "arm.urdf").write_text(ARM)
    lines = ["from ikp.cli import main"]
    for language, content in blocks((ROOT / "docs" / f"{name}.md").read_text()):
        if language not in RUN[name]:
            continue
        if language == "python":
            lines.append(
                content.replace("steps=100", "steps=2").replace('"data/state", 20', '"data/state", 4')
            )
        else:
            words = [shlex.split(line, comments=True) for line in content.splitlines()]
            lines += [f"assert main({[*w[1:], *SMALLER[w[1]]]}) == 0" for w in words if w[:1] == ["ikp"]]
    script = tmp_path / "page.py"
    script.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
