"""The wheel: two packages and two commands, of which the library works without the other."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALONE = """
import importlib.util
import sys
from pathlib import Path

installed = Path(sys.argv[1])
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [str(installed), *(path for path in sys.path if not (Path(path) / "ikp").is_dir())]
assert importlib.util.find_spec("ikp_paper") is None

from ikp.cli import main

recipe = ["--recipe", "quick"]
collect = ["--out", "data", "--observation", "state", "--episodes", "4", "--workers", "1"]
assert main(["collect", *collect, *recipe]) == 0
assert main(["train", "--data", "data", "--out", "run", "--steps", "3", "--threads", "1", *recipe]) == 0
assert main(["evaluate", "--policy", "run", "--episodes", "1", "--out", "result.json"]) == 0
assert {Path(sys.modules[name].__file__).parents[1] for name in ("ikp", "ikp.cli")} >= {installed}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this source tree, built from a copy so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--wheel-dir", source / "dist", source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def pip(*arguments):
    """Run pip without the network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *map(str, arguments)]
    done = subprocess.run([*command, "--no-deps", "--no-index"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_two_packages_and_their_commands(wheel):
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (commands,) = [files.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"ikp", "ikp_paper"}
    assert {"ikp/py.typed", "ikp/kinematics/_native.pyi"} <= set(names)
    assert "ikp = ikp.__main__:main" in commands
    assert "ikp-paper = ikp_paper.__main__:main" in commands


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").is_file(), reason="no headers of Python here"
)
def test_the_wheel_holds_the_extension_where_it_can_be_built(wheel):
    with zipfile.ZipFile(wheel) as files:
        built = [name for name in files.namelist() if name.startswith("ikp/kinematics/_native.")]
    assert any(name.endswith((".so", ".pyd")) for name in built)


def test_the_library_alone_collects_trains_and_evaluates(wheel, tmp_path):
    installed = tmp_path / "installed"
    pip("install", "--target", installed, wheel)
    shutil.rmtree(installed / "ikp_paper")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(installed)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.json").exists()
