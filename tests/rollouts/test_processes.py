"""Evaluation in several processes: the same outcome, and errors and ends that are understood."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from ikp.policies import DataSpec
from ikp.rollouts import processes, video
from ikp.rollouts.environments import EnvironmentMaker
from ikp.rollouts.evaluate import evaluate
from ikp.rollouts.processes import processes_that_pay

from .acting import policy_for
from .own_environments import Point

TOY = "test/Toy-v0"


@pytest.fixture(autouse=True)
def _toy_task(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import_module("toy_task")  # not as a part of this package, which the processes could not import


@pytest.fixture
def mover():
    """Goes half of the way to the goal of the toy task."""
    spec = DataSpec(("slide.pos",), ("slide.pos",), ("goal.x",), fps=10)
    return policy_for(spec, lambda o: 0.5 * (o["environment_state"][:, -1] + o["state"][:, -1]))


@pytest.fixture
def sweeper():
    """Holds six joints and turns one by what it sees in the image."""
    joints = tuple(f"joint_{i}" for i in range(6))
    names = (*joints, "vacuum")
    spec = DataSpec(names, names, image_shapes={"front": (96, 96, 3)}, joint_dims=tuple(range(6)), fps=10)

    def act(o):
        image = o["images"]["front"][:, -1].float().mean((1, 2))
        action = torch.cat([o["state"][:, -1, :6], torch.zeros(len(image), 1)], -1)
        action[:, 0] += 0.01 * (image[:, 0] - 128) / 128
        return action

    return policy_for(spec, act)


def test_the_outcome_does_not_depend_on_the_number_of_processes(sweeper, tmp_path, monkeypatch):
    """Physics, images and pictures are equal bit by bit; five episodes of two environments at once."""
    films = []
    monkeypatch.setattr(video, "write_grid", lambda pictures, *_, **__: films.append(pictures))
    options = {
        "episodes": 5,
        "simultaneous": 2,
        "max_steps": 6,
        "env_kwargs": {"offset_seed": 3},
        "progress": False,
    }
    found = [
        evaluate("insertion", sweeper, workers=n, video=tmp_path / "film.mp4", video_episodes=3, **options)
        for n in (1, 2)
    ]
    assert found[0].episodes == found[1].episodes
    assert [episode.seed for episode in found[0].episodes] == list(range(1_000_000, 1_000_005))
    assert [len(film) for film in films] == [3, 3]
    for one, two in zip(*films, strict=True):
        np.testing.assert_array_equal(one, two)


def test_errors_of_a_process_are_those_of_the_environment(mover):
    options = {"episodes": 2, "workers": 2, "progress": False}
    with pytest.raises(ZeroDivisionError, match="the simulation broke") as caught:
        evaluate(TOY, mover, env_kwargs={"error": True}, **options)
    assert "toy_task.py" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="ended with code -9 .*evaluate with workers=1"):
        evaluate(TOY, mover, env_kwargs={"die_above": -1.0}, **options)
    with pytest.raises(ValueError, match="cannot make the environment .* no option 'size'"):
        evaluate(TOY, mover, env_kwargs={"size": 3}, **options)


def test_what_an_environment_prints_does_not_get_between_the_answers(mover, capfd):
    assert (
        evaluate(TOY, mover, episodes=2, workers=2, env_kwargs={"talks": True}, progress=False).successes == 2
    )
    assert "a toy" in capfd.readouterr().err


def test_only_registered_tasks_have_processes(mover):
    for wrong in (Point, "other/Point-v0"):
        with pytest.raises(ValueError, match="workers is 2: only environments of registered tasks"):
            evaluate(wrong, mover, workers=2, simultaneous=2, progress=False)
    with pytest.raises(ValueError, match="workers is 0: it must be from 1"):
        evaluate("insertion", mover, workers=0)


def test_processes_are_used_where_they_pay(monkeypatch):
    monkeypatch.setattr(processes, "usable_cores", lambda: 4)
    monkeypatch.setattr(processes.torch, "get_num_threads", lambda: 3)
    insertion, toy = EnvironmentMaker("insertion", {}), EnvironmentMaker(TOY, {})
    assert processes_that_pay(insertion, 200) == 3
    assert processes_that_pay(insertion, 20) == 1, "they would start longer than they run"
    assert processes_that_pay(EnvironmentMaker(Point, {}), 10_000) == 1
    assert processes_that_pay(toy, 10_000) == 1, "its class may be in a script"
    assert processes_that_pay(EnvironmentMaker("insertion", {"render_mode": object()}), 200) == 1
    assert processes_that_pay(EnvironmentMaker("insertion", {"render_size": (32, 32)}), 200) == 3


SCRIPT = """
import os, sys
import ikp, toy_task
from ikp.policies import DataSpec, PolicyConfig, make_policy

spec = DataSpec(("slide.pos",), ("slide.pos",), ("goal.x",), fps=10)
policy = make_policy(None, spec, PolicyConfig(action_space="raw", width=8, blocks=1)).eval()
def act(observation):
    print("running", flush=True)
    return observation["state"][:, -1]
policy.act = act
ikp.evaluate("test/Toy-v0", policy, episodes=2, workers=2, env_kwargs={"duration": 60.0}, progress=False)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_script_needs_no_main_and_its_processes_end_with_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, script], env=env, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"running\n"
        children = children_of(caller.pid)
        assert len(children) == 2
        caller.send_signal(signal.SIGINT)
        assert caller.wait(20) != 0
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "processes outlive their caller"
        time.sleep(0.05)


def children_of(pid):
    return [
        int(each)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for each in (task / "children").read_text().split()
    ]
