"""Two elbows: both solutions are answers, their mean and any way between them are not."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import ikp
from ikp.kinematics import inverse_kinematics
from ikp.rollouts.collect import collect
from ikp.tasks import InsertionEnv, TwoElbowsEnv, TwoElbowsExpert
from ikp.tasks.two_elbows.environment import ELBOW_RANGE, MIN_GAP
from ikp.tasks.two_elbows.scene import POSTURES

ARM = """<robot name="{name}"><link name="base"/>{joints}</robot>"""
JOINT = """<link name="link_{i}"/><joint name="joint_{i}" type="revolute"><parent link="{parent}"/>
<child link="link_{i}"/><origin xyz="0 0 {z}"/><axis xyz="{axis}"/>
<limit lower="-2.9" upper="2.9" velocity="{speed}"/></joint>"""
AXES = ("0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1")
UP, DOWN = (0, 0.2, 0, 1.2, 0, 0.2, 0), (0, 1.4, 0, -1.2, 0, 1.4, 0)


@pytest.fixture(scope="module")
def env() -> TwoElbowsEnv:
    return TwoElbowsEnv(observation="state")


def own_arm(tmp_path, speed: float = 2.0, last: int = 7) -> str:
    """Path of a URDF of an arm with shoulder, elbow and wrist 0.4 m apart; fewer joints with `last`."""
    heights = (0.3, 0.0, 0.0, 0.4, 0.0, 0.4, 0.1)
    parents = ("base", *(f"link_{i}" for i in range(1, 7)))
    joints = [
        JOINT.format(i=i, parent=parent, z=z, axis=axis, speed=speed)
        for i, (parent, z, axis) in enumerate(zip(parents, heights, AXES, strict=True), start=1)
    ]
    path = tmp_path / "own.urdf"
    path.write_text(ARM.format(name="own", joints="".join(joints[:last])))
    return str(path)


@pytest.mark.parametrize("arm", POSTURES)
@pytest.mark.parametrize("offset_seed", [None, 0])
def test_both_solutions_of_every_goal_are_answers(arm, offset_seed):
    env = TwoElbowsEnv(arm, observation="state", offset_seed=offset_seed)
    for seed in range(8):
        for elbow in ("up", "down"):
            env.reset(seed=seed)
            action = TwoElbowsExpert(env, elbow=elbow).action()
            _, reward, terminated, _, info = env.step(action)
            assert info["success"]
            assert terminated
            assert reward == 1.0
            assert info["position_error"] < 1e-3
            assert info["elbow_up"] == (elbow == "up")


def test_solutions_reach_the_observed_goal(env):
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        for q in env.solutions:
            T = ikp.forward_kinematics(env.robot, torch.from_numpy(q))[env.robot.tip_indices[0]].numpy()
            expected = np.concatenate((T[:3, 3], T[:3, 0], T[:3, 1]))
            np.testing.assert_allclose(observation["environment_state"], expected, atol=2e-4)


def test_the_mean_of_both_solutions_fails(env):
    for seed in range(20):
        env.reset(seed=seed)
        *_, info = env.step(np.mean(env.solutions, axis=0))
        assert not info["success"]
        assert info["position_error"] > 0.02


def test_the_goal_with_the_elbow_between_is_no_answer(env):
    """A seven-joint arm can swing its elbow about the line from shoulder to wrist, and the tip stays."""
    env.reset(seed=0)
    q = torch.from_numpy(env.solutions[0])[None]
    goal = ikp.forward_kinematics(env.robot, q)[:, list(env.robot.tip_indices)]
    swung = q + torch.tensor((1.2, -0.2, -1.7, 0.5, -0.9, -1.1, 0.3))
    found = inverse_kinematics(env.robot, goal, swung, restarts=0)
    assert found.converged.all()
    *_, info = env.step(found.q[0].numpy())
    assert info["position_error"] < 1e-3
    assert info["elbow_error"] > ELBOW_RANGE
    assert not info["success"]


def test_the_start_does_not_tell_which_elbow_is_meant(env):
    elbows = []
    for seed in range(40):
        first = env.reset(seed=seed)[0]["state"]
        expert = TwoElbowsExpert(env, np.random.default_rng(seed))
        up, down = (float(np.linalg.norm(first - q)) for q in env.solutions)
        elbows.append((up < down, bool(np.allclose(expert.action(), env.solutions[0]))))
    nearer, chosen = np.array(elbows).T
    assert 0.25 < chosen.mean() < 0.75
    assert 0.25 < (nearer == chosen).mean() < 0.75


def test_episodes_repeat_and_pass_gymnasiums_checker():
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make("ikp/TwoElbows-v0", observation="state").unwrapped
    check_env(env, skip_render_check=True)
    (first, _), (again, _) = env.reset(seed=3), env.reset(seed=3)
    np.testing.assert_array_equal(first["environment_state"], again["environment_state"])


def test_a_motion_ends_after_two_seconds_of_simulation(env):
    env.reset(seed=0)
    before = env.data.time
    env.step(env.solutions[0])
    assert env.data.time - before == pytest.approx(env.control_dt) == pytest.approx(2.0)


def test_images_show_the_goal():
    env = TwoElbowsEnv()
    image = env.reset(seed=0)[0]["image"]
    env.data.mocap_pos[0] = (0.0, 0.0, -5.0)
    mujoco.mj_kinematics(env.model, env.data)
    assert np.abs(image.astype(int) - env._observe()["image"]).max() > 50


def test_an_arm_from_a_file(tmp_path):
    env = TwoElbowsEnv(own_arm(tmp_path), postures=(UP, DOWN), observation="state")
    for seed in range(4):
        env.reset(seed=seed)
        assert np.linalg.norm(env._elbows[0] - env._elbows[1]) >= MIN_GAP
        *_, info = env.step(TwoElbowsExpert(env, np.random.default_rng(seed)).action())
        assert info["success"]


def test_a_slow_arm_does_not_arrive(tmp_path):
    env = TwoElbowsEnv(own_arm(tmp_path, speed=0.2), postures=(UP, DOWN), observation="state")
    start = env.reset(seed=0)[0]["state"]
    observation, *_, info = env.step(TwoElbowsExpert(env, elbow="up").action())
    assert not info["success"]
    assert np.abs(observation["state"] - start).max() < 0.2 * env.control_dt + 0.01


def test_unusable_arms_are_refused_with_the_fix(tmp_path):
    with pytest.raises(ValueError, match=r"two elbows of 'own' are not known: give postures=\(up, down\)"):
        TwoElbowsEnv(own_arm(tmp_path))
    with pytest.raises(ValueError, match=r"postures have the shape \(1, 7\): give \(up, down\), each 7"):
        TwoElbowsEnv(own_arm(tmp_path), postures=(UP,))
    with pytest.raises(ValueError, match="postures of 'own' differ by 0 mm at most"):
        TwoElbowsEnv(own_arm(tmp_path), postures=(UP, UP))
    with pytest.raises(ValueError, match="has 5 joints .* needs at least six joints and one tip"):
        TwoElbowsEnv(own_arm(tmp_path, last=5))
    with pytest.raises(ValueError, match="tips left_flange, right_flange"):
        TwoElbowsEnv("iiwa14_dual")


def test_unusable_experts_are_refused(env):
    with pytest.raises(ValueError, match="needs an environment of class TwoElbowsEnv, got InsertionEnv"):
        TwoElbowsExpert(InsertionEnv(observation="state"))
    with pytest.raises(ValueError, match=r"perturbation is 0.7: .* use 0"):
        TwoElbowsExpert(env, perturbation=0.7)
    with pytest.raises(ValueError, match="elbow is 'left': choose one of up, down, both"):
        TwoElbowsExpert(env, elbow="left")


def test_demonstrations_of_one_frame_are_collected(tmp_path):
    task = {"observation": "state"}
    expert = {"elbow": "down"}
    collect("two-elbows", tmp_path, 3, env_kwargs=task, expert_kwargs=expert, workers=1, progress=False)
    data = ikp.load_dataset(tmp_path)
    assert (data.episodes, len(data)) == (3, 3)
    assert (data.action[:, 3] > 0.8).all(), "the elbow is down"
