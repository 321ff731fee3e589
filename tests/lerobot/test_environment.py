"""`--env.type=ikp`: the simulated tasks as environments of LeRobot, with the episodes of `ikp evaluate`."""

import json
import os

import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot")

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.envs import make_env, make_env_pre_post_processors, preprocess_observation
from lerobot.envs.factory import make_env_config
from lerobot.envs.utils import NEW_ROLLOUT_OPTION, env_to_policy_features
from lerobot.policies.factory import make_pre_post_processors
from lerobot.scripts.lerobot_eval import rollout

import ikp
from lerobot_env_ikp import IKPEnvConfig, make_task
from lerobot_policy_ikp import IKPConfig, IKPPolicy, import_policy
from lerobot_policy_ikp.exchange import pretrained_folder

from .conftest import SMALL, run, training


def test_features_are_those_of_the_demonstrations(pixel_demonstrations, demonstrations):
    for observation, folder in (("pixels", pixel_demonstrations), ("state", demonstrations)):
        config = make_env_config("ikp", observation=observation)
        found = env_to_policy_features(config)
        spec = ikp.load_dataset(folder, images=False).spec
        expected = {"action": (spec.action_dim,), "observation.state": (spec.state_dim,)}
        if observation == "pixels":
            expected["observation.images.front"] = (3, 96, 96)
            assert found["observation.images.front"].type is FeatureType.VISUAL
        else:
            expected["observation.environment_state"] = (spec.environment_state_dim,)
        assert {key: feature.shape for key, feature in found.items()} == expected
        assert config.fps == spec.fps


def test_seeds_are_those_of_ikp_evaluate():
    from ikp.rollouts.evaluate import FIRST_SEED

    env = make_task("insertion", observation="state")
    observation, info = env.reset(seed=3, options={NEW_ROLLOUT_OPTION: True})
    expected, _ = env.unwrapped.reset(seed=FIRST_SEED + 3)
    assert np.array_equal(observation["environment_state"], expected["environment_state"])
    assert info["is_success"] is False
    assert env.task_description == "Insertion, miscalibrated"
    assert env.observation_space.contains(observation)
    env.close()


@pytest.mark.parametrize("apart", [False, True])
def test_environments_step_together(apart):
    """In one process or in several: the same numbers, and an episode that has ended costs no physics."""
    config = IKPEnvConfig(task="insertion", observation="state", options={"offset_seed": None})
    (vector,) = make_env(config, n_envs=2, use_async_envs=apart)["ikp"].values()
    try:
        first, _ = vector.reset(seed=[0, 1], options={NEW_ROLLOUT_OPTION: True})
        assert vector.call("_max_episode_steps") == (80, 80)
        batch = preprocess_observation(first)
        assert batch["observation.state"].shape == (2, 7)
        action = batch["observation.state"].numpy() + 0.1
        for step in range(82):
            observation, _, _, truncated, info = vector.step(action)
            assert truncated.all() == (step >= 79)
        assert not info["final_info"]["is_success"].any()
        again, _ = vector.reset(seed=[0, 1], options={NEW_ROLLOUT_OPTION: True})
        assert np.array_equal(again["environment_state"], first["environment_state"])
        assert not np.array_equal(observation["agent_pos"], first["agent_pos"])
    finally:
        vector.close()


def test_lerobot_evaluates_the_episodes_of_ikp_evaluate(trained, tmp_path):
    """The same policy in both takes the same actions to the same end."""
    folder, options = pretrained_folder(trained), {"offset_seed": 0, "render_size": [32, 32]}
    policy = ikp.load_policy(import_policy(trained, tmp_path / "own"))
    frames, (vector,) = [], make_env(IKPEnvConfig(options=options))["ikp"].values()
    config = PreTrainedConfig.from_pretrained(folder)
    steps = [*make_env_pre_post_processors(IKPEnvConfig(), config), *make_pre_post_processors(config, folder)]
    theirs = rollout(
        vector,
        IKPPolicy.from_pretrained(folder),
        *steps,
        seeds=[0],
        render_callback=lambda env: frames.append(env.call("render")[0]),
    )
    vector.close()
    env = make_task("insertion")
    observation, _ = env.reset(seed=0)
    for action in theirs["action"][0]:
        frame = {"state": observation["agent_pos"], **observation["pixels"]}
        assert torch.equal(policy.select_action(frame), action)
        observation, *_, info = env.step(action.numpy())
    env.close()
    (ours,) = ikp.evaluate("ikp/Insertion-v0", policy, episodes=1, env_kwargs={"offset_seed": 0}).episodes
    assert ours.steps == theirs["action"].shape[1]
    assert ours.success == bool(theirs["success"].any())
    for name, value in ours.info.items():
        assert info[name] == pytest.approx(value, abs=1e-6), name
    assert frames[-1].shape == (32, 32, 3)


def test_the_command_evaluates_a_checkpoint(trained, tmp_path):
    folder = pretrained_folder(trained)
    where = (f"--policy.path={folder}", "--policy.device=cpu", f"--output_dir={tmp_path / 'out'}", "--seed=0")
    sizes = ("--eval.n_episodes=1", "--eval.batch_size=1", '--env.options={"render_size": [32, 32]}')
    run("lerobot-eval", *where, *sizes, "--env.type=ikp", "--env.task=insertion")
    result = json.loads((tmp_path / "out/eval_info.json").read_text())
    assert result["overall"]["n_episodes"] == 1
    assert (tmp_path / "out/videos/ikp_0/eval_episode_0.mp4").stat().st_size > 1000


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="choose one of insertion"):
        IKPEnvConfig(task="juggling")


@pytest.mark.parametrize("made", [IKPConfig, IKPEnvConfig])
def test_a_configuration_imports_no_module(made, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('code from a configuration ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="names no module.*discover_packages_path=PACKAGE"):
        made(task="trap:ikp/Insertion-v0")


OWN_TASK = """
from ikp.tasks import TaskEntry, register_task
from ikp.tasks.insertion.environment import InsertionEnv

class ShortEnv(InsertionEnv):
    pass

register_task(TaskEntry("short", "own/Short-v0", "Short insertion", ShortEnv, max_episode_steps=3))
"""


def test_a_package_on_the_command_line_registers_a_task(trained, tmp_path, monkeypatch):
    """LeRobot imports it, and environments in processes of their own know its task too."""
    (tmp_path / "own_tasks").mkdir()
    (tmp_path / "own_tasks/__init__.py").write_text(OWN_TASK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    where = (
        f"--policy.path={pretrained_folder(trained)}",
        "--policy.device=cpu",
        f"--output_dir={tmp_path / 'out'}",
    )
    sizes = ("--eval.n_episodes=2", "--eval.batch_size=2", "--eval.use_async_envs=true")
    own = ("--env.discover_packages_path=own_tasks", "--env.type=ikp", "--env.task=short")
    run("lerobot-eval", *where, *sizes, *own)
    assert json.loads((tmp_path / "out/eval_info.json").read_text())["overall"]["n_episodes"] == 2


def test_a_training_goes_on_after_an_evaluation(pixel_demonstrations, tmp_path):
    out = tmp_path / "run"
    env = ("--env.type=ikp", "--env_eval_freq=1", '--env.options={"render_size": [32, 32]}')
    sizes = ("--eval.n_episodes=1", "--eval.batch_size=1")
    run("lerobot-train", *training(pixel_demonstrations, out, *env, *sizes, *SMALL, steps=2))
    assert sorted(folder.name for folder in (out / "eval").iterdir()) == [
        "videos_step_000001",
        "videos_step_000002",
    ]
