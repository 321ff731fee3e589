"""Tests with the real LeRobot and both plug-ins; `make lerobot` builds their environment and runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if "HF_HUB_OFFLINE" not in os.environ:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: no test asks the network

SMALL = ("--policy.recipe=quick", "--policy.width=32", "--batch_size=8", "--num_workers=0", "--log_freq=4")


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path, monkeypatch):
    """LeRobot and its data library keep their files in the test's folder."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def command(name, *arguments):
    """The command line of one of LeRobot's programs."""
    return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]


def run(name, *arguments):
    """Run a program to its end and return what it printed."""
    done = subprocess.run(command(name, *arguments), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def training(data, out, *arguments, policy="ikp", steps=8):
    """Arguments of lerobot-train for a data set on disk."""
    where = (f"--dataset.repo_id=local/{data.name}", f"--dataset.root={data}", f"--output_dir={out}")
    local = (f"--policy.type={policy}", "--policy.push_to_hub=false", "--policy.device=cpu")
    return (*where, *local, f"--steps={steps}", *arguments)


@pytest.fixture(scope="session")
def trained(pixel_demonstrations, tmp_path_factory):
    """Folder of a run of lerobot-train on demonstrations of a simulated task, with checkpoints at 4 and 8 steps.

    All steps are in one epoch: LeRobot repeats the order of frames exactly only from a checkpoint in the first one.
    """
    out = tmp_path_factory.mktemp("trained") / "run"
    run("lerobot-train", *training(pixel_demonstrations, out, "--save_freq=4", *SMALL))
    return out
