"""The project's own promises: light imports, one version, no machine paths, files of one concept, true commands."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/getting_started.md", "docs/contributing.md", "docs/performance.md"]
SIMULATION_FILES_AND_PLOTS = {
    "av",
    "gymnasium",
    "imageio",
    "matplotlib",
    "mujoco",
    "pyarrow",
    "ray",
    "rerun",
    "rtde_control",
    "tensorboard",
    "tyro",
}


def project_files() -> list[Path]:
    """The files of a clone, less pictures and other binary files; found without git, for archives have none."""
    skipped_folders = {".git", "__pycache__", "build", "dist", "outputs", "runs"}
    binary = {".gif", ".jpg", ".mp4", ".npz", ".parquet", ".png", ".pyc", ".safetensors", ".so"}
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in skipped_folders
            and not name.startswith(".venv")
            and not name.endswith(("_cache", ".egg-info", ".hypothesis"))
        ]
        found += [Path(folder) / name for name in names if Path(name).suffix not in binary and name != ".git"]
    return sorted(found)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("module", ["ikp", "ikp.kinematics", "ikp.nets", "ikp.policies"])
def test_core_imports_no_simulation_files_or_plots(module):
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not SIMULATION_FILES_AND_PLOTS & set(result.stdout.split())


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert citation is not None
    assert {newest[1], citation[1], version("ikp")} == {project}


def test_no_path_of_one_machine_in_any_file():
    machine_path = re.compile(r"(?<![\w.~>])/(?:home|root|work|Users|tmp|opt)/\w")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if machine_path.search(line)
    ]
    assert not found, "\n".join(found)


def test_source_files_stay_short():
    """One concept per file is the rule; a file of this length probably holds two."""
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert lengths
    too_long = {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 500}
    assert not too_long, "look for the second concept and move it out"


@pytest.mark.parametrize("page", [*PAGES, ".ci/run"])
def test_documented_make_targets_exist(page):
    mentioned = set(re.findall(r"(?:^|`|20m )make ([a-z]+)", (ROOT / page).read_text(), flags=re.MULTILINE))
    assert mentioned <= make_targets()


@pytest.mark.parametrize(
    "page",
    ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))],
)
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text())
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_headings_and_comments_say_who_does_what():
    """As docstrings do; a heading that begins with such a word is a noun fragment or a question."""
    for path in project_files():
        if path.suffix in {".md", ".py", ".sh"} or path.name == "Makefile":
            found = re.findall(r"^\s*#+ (?:Of|What)\b.*", path.read_text(), flags=re.MULTILINE)
            assert not found, f"{path.relative_to(ROOT)}: {found[0].strip()}"


def test_docstrings_say_who_does_what():
    """A docstring that opens with a question word or a preposition is a noun fragment."""
    fragment = re.compile(r'^\s*"""(?:What|Of) ', flags=re.MULTILINE)
    folders = ("src", "tools", "benchmarks", "plugins", "examples", "tests")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}: {line.group().strip()}"
        for path in sources
        for line in fragment.finditer(path.read_text())
    ]
    assert sources
    assert not found


IMPORTS_BY_NAME = {
    "src/ikp/__init__.py",  # public names, on first use
    "src/ikp/tasks/__init__.py",
    "src/ikp/tasks/registry.py",  # classes of registered tasks, and module:id from the command line or a script
    "src/ikp/tasks/rendering.py",  # MuJoCo's own modules
    "src/ikp/robots/extras.py",  # modules of the extras, from a list of its own
    "src/ikp_paper/queue/cluster.py",  # Ray
}


def test_code_is_run_from_no_file_that_is_loaded():
    """A new place that imports by name, or reads a format that can hold code, is a decision."""
    runs_code = re.compile(
        r"\bimport_module\(|__import__\(|(?<![\w.])(?:eval|exec)\([^)]|\bpickle\b|torch\.load\(|allow_pickle|yaml\.load"
    )
    sources = [path for folder in ("src", "plugins") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if runs_code.search(path.read_text())}
    assert found == IMPORTS_BY_NAME
