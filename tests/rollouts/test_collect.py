"""Collection: the same data set for any number of workers and interruptions."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from ikp.data import DatasetError, load_dataset
from ikp.data.layout import IKP_PATH
from ikp.rollouts.collect import CollectionInterrupted, collect
from ikp.tasks import TaskEntry, register_task, registry

from .toy_task import ToyEnv, ToyExpert

TOY = "toy_task:test/Toy-v0"
HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _toy_task(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_observations_go_with_clean_actions(tmp_path):
    report = collect(TOY, tmp_path / "a", 6, perturbation=0.02, workers=1, task="reach", progress=False)
    demonstrations = load_dataset(report.root)
    assert (report.episodes, report.collected, report.frames) == (6, 6, len(demonstrations))
    state, goal = demonstrations.state[:, 0], demonstrations.environment_state[:, 0]
    np.testing.assert_allclose(demonstrations.action[:, 0], state + 0.6 * (goal - state), atol=1e-6)
    executed = state[1:] - demonstrations.action[:-1, 0]
    inside = demonstrations.frame_index[1:] > 0
    assert 0.005 < executed[inside].std() < 0.05, "the executed actions were disturbed"
    np.testing.assert_array_equal(demonstrations.images["top"][:, 7, 0, 0], (255 * goal).to(int))
    spec = demonstrations.spec
    assert (spec.action_names, spec.joint_dims, spec.fps) == (("slide.pos",), (0,), 10.0)
    assert demonstrations.success.all()


def test_replayed_actions_reproduce_the_stored_states(tmp_path):
    options = {"observation": "state", "offset_seed": 1}
    collect("ikp/Insertion-v0", tmp_path / "a", 2, seed=7, env_kwargs=options, workers=1, progress=False)
    demonstrations = load_dataset(tmp_path / "a")
    env = gymnasium.make("ikp/Insertion-v0", **options)
    for (start, end), info in zip(demonstrations.episode_bounds.tolist(), demonstrations.info, strict=True):
        observation, _ = env.reset(seed=info["seed"])
        for frame in range(start, end):
            np.testing.assert_array_equal(demonstrations.state[frame], observation["state"])
            np.testing.assert_array_equal(
                demonstrations.environment_state[frame], observation["environment_state"]
            )
            observation, *_, outcome = env.step(demonstrations.action[frame].numpy())
        assert outcome["success"]


def test_any_number_of_workers_and_any_interruption_give_the_same_data_set(tmp_path):
    options = {"perturbation": 0.02, "env_kwargs": {"fail_below": 0.3}, "seed": 3, "progress": False}
    collect(TOY, tmp_path / "one", 9, workers=1, **options)
    collect(TOY, tmp_path / "two", 9, workers=2, **options)
    for episodes in (2, 3, 9):
        collect(TOY, tmp_path / "parts", episodes, workers=1, **options)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "parts")
    assert collect(TOY, tmp_path / "one", 5, workers=1, **options).collected == 0


def test_failures_are_replaced_from_the_same_seed_or_kept(tmp_path):
    kept = collect(TOY, tmp_path / "a", 12, env_kwargs={"fail_below": 0.3}, workers=1, progress=False)
    replaced = load_dataset(tmp_path / "a")
    assert replaced.success.all()
    assert replaced.environment_state.min() > 0.3
    attempts = [info["attempt"] for info in replaced.info]
    assert kept.attempts == 12 + sum(attempts) > 12
    first = [info["seed"] == episode for episode, info in enumerate(replaced.info)]
    assert first == [attempt == 0 for attempt in attempts]
    collect(
        TOY, tmp_path / "b", 12, env_kwargs={"fail_below": 0.3}, keep_failures=True, workers=1, progress=False
    )
    with_failures = load_dataset(tmp_path / "b")
    assert with_failures.success.tolist() == first


def test_hopeless_expert(tmp_path):
    with pytest.raises(RuntimeError, match="failed 20 times in a row at episode 0"):
        collect(TOY, tmp_path / "a", 2, env_kwargs={"fail_below": 2.0}, workers=1, progress=False)


def test_error_of_the_simulation_names_the_seed(tmp_path):
    with pytest.raises(RuntimeError, match=r"episode 0 \(environment seed 5\) failed: ZeroDivisionError"):
        collect(TOY, tmp_path / "a", 2, seed=5, env_kwargs={"error": True}, workers=1, progress=False)


def test_dead_worker(tmp_path):
    with pytest.raises(RuntimeError, match=r"a worker process died .* of 40 episodes are finished"):
        collect(TOY, tmp_path / "a", 40, env_kwargs={"die_above": 0.9}, workers=2, progress=False)


def test_other_settings_are_refused(tmp_path):
    collect(TOY, tmp_path / "a", 1, workers=1, progress=False)
    with pytest.raises(
        DatasetError, match=r"other settings \(seed was 0, is 1; perturbation was 0\.0, is 0\.5\)"
    ):
        collect(TOY, tmp_path / "a", 2, seed=1, perturbation=0.5, workers=1, progress=False)


def test_arguments_of_the_expert_reach_it_and_belong_to_the_data_set(tmp_path):
    slow = {"expert_kwargs": {"gain": 0.3}, "workers": 1, "progress": False}
    collect(TOY, tmp_path / "a", 2, **slow)
    collect(TOY, tmp_path / "b", 2, workers=1, progress=False)
    first = [load_dataset(tmp_path / name).action[0].item() for name in "ab"]
    assert first[0] == pytest.approx(first[1] / 2)
    with pytest.raises(DatasetError, match=r"other settings \(expert_kwargs was \{'gain': 0\.3\}, is \{\}\)"):
        collect(TOY, tmp_path / "a", 3, workers=1, progress=False)


def test_data_sets_of_before_experts_had_arguments_go_on(tmp_path):
    collect(TOY, tmp_path / "a", 1, workers=1, progress=False)
    path = tmp_path / "a" / IKP_PATH
    description = json.loads(path.read_text())
    del description["extra"]["collection"]["expert_kwargs"]
    path.write_text(json.dumps(description))
    assert collect(TOY, tmp_path / "a", 2, workers=1, progress=False).collected == 1


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="episodes is 0: it must be from 1"):
        collect(TOY, tmp_path / "a", 0)
    with pytest.raises(ValueError, match="has no scripted expert: there is one for insertion, sweeping"):
        collect("toy_task:test/NoExpert-v0", tmp_path / "a", 1)
    with pytest.raises(ValueError, match="cannot be stored as JSON"):
        collect(TOY, tmp_path / "a", 1, env_kwargs={"error": object()})
    assert not (tmp_path / "a").exists()


def test_interrupt_keeps_what_is_finished(tmp_path, monkeypatch):
    import ikp.rollouts.collect as module

    simulate, calls = module._Simulation.episode, []

    def interrupted(self, index):
        calls.append(index)
        if index == 3:
            raise KeyboardInterrupt
        return simulate(self, index)

    monkeypatch.setattr(module._Simulation, "episode", interrupted)
    with pytest.raises(
        CollectionInterrupted, match=r"3 of 5 episodes are finished in .*: run the same again"
    ):
        collect(TOY, tmp_path / "a", 5, workers=1, progress=False)
    assert load_dataset(tmp_path / "a").episodes == 3


COLLECT = """
import sys
from ikp.rollouts.collect import collect
if __name__ == "__main__":
    collect("toy_task:test/Toy-v0", sys.argv[1], 500, env_kwargs={"duration": 0.01}, workers=2)
"""


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_collection_leaves_a_data_set_and_no_processes(tmp_path, stop):
    root, script = tmp_path / "a", tmp_path / "run.py"
    script.write_text(COLLECT)
    with subprocess.Popen(
        [sys.executable, str(script), str(root)], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for((root / "data/chunk-000/file-004.parquet").exists)
        children = children_of(process.pid)
        assert len(children) >= 2
        process.send_signal(stop)
        output = process.stderr.read()
    assert process.returncode != 0
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    demonstrations = load_dataset(root)
    assert 5 <= demonstrations.episodes < 500
    if stop == signal.SIGINT:
        assert f"{demonstrations.episodes} of 500 episodes are finished" in output
        assert json.loads((root / "meta/info.json").read_text())["total_episodes"] == demonstrations.episodes
    options = {"env_kwargs": {"duration": 0.01}, "workers": 1, "progress": False}
    report = collect(TOY, root, demonstrations.episodes + 2, **options)
    assert report.collected == 2


def test_an_environment_without_names_is_told_what_a_task_has(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    class Bare(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-1, 1, (2,)))
        action_space = gymnasium.spaces.Box(-1, 1, (2,))

    class Vector(ToyEnv):
        def __init__(self):
            super().__init__()
            self.observation_space = gymnasium.spaces.Box(-1, 1, (2,))

    for environment, words in (
        (Bare, "has no attributes robot, action_names, state_names, .*control_dt: .*ikp.Recorder"),
        (Vector, r"observes \[\]: a task that is collected has .*a dictionary of 'state'"),
    ):
        register_task(TaskEntry("own", "test/Own-v0", "Own", environment, ToyExpert))
        with pytest.raises(ValueError, match=f"test/Own-v0 {words}"):
            collect("own", tmp_path / "a", 1, workers=1)
    with pytest.raises(ValueError, match="recorded with ikp.Recorder"):
        collect("Pendulum-v1", tmp_path / "a", 1)
    assert not (tmp_path / "a").exists()
