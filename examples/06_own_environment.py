"""An environment that knows nothing of this library: record its loop, train, evaluate. Here Gymnasium's Reacher-v5."""

from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.envs import mujoco

import ikp
from ikp.kinematics import inverse_kinematics

EPISODES = 100
STEPS = 1000
OUT = Path("outputs/examples/06")

# The arm is in the environment's own file. The two joints that place the goal are no joints of the arm.
XML = Path(mujoco.__file__).parent / "assets" / "reacher.xml"
ROBOT = ikp.load_robot(XML, tips=["fingertip"], locked={"target_x": 0.0, "target_y": 0.0})


class JointTargets(gymnasium.Wrapper):
    """Reacher takes torques; this holds joint targets [rad] over five of its steps, which makes 10 Hz."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gymnasium.spaces.Box(-4, 4, (2,), np.float32)
        self.metadata = {**env.metadata, "render_fps": 10}

    def step(self, action):
        for _ in range(5):
            q, speed = self.unwrapped.data.qpos[:2], self.unwrapped.data.qvel[:2]
            step = self.env.step(np.clip(2.0 * (action - q) - 0.2 * speed, -1, 1).astype(np.float32))
            if step[2] or step[3]:
                break
        return step


def make_env():
    return JointTargets(gymnasium.make("Reacher-v5", max_episode_steps=100))


def joints(observation):
    """Reacher observes the cosines and the sines of its two joints, then where the goal is."""
    return np.arctan2(observation[2:4], observation[:2])


def near(info):
    """Within 2 cm; Reacher's info has no success."""
    return info["reward_dist"] > -0.02


def joints_at_goal(observation):
    q = torch.from_numpy(joints(observation))
    T = ikp.forward_kinematics(ROBOT, q)[list(ROBOT.tip_indices)]
    T[0, :2, 3] = torch.from_numpy(observation[4:6])
    return inverse_kinematics(ROBOT, T, q, rotation_weight=0.0).q.numpy()


if __name__ == "__main__":
    frame = {"state": joints, "environment_state": lambda observation: observation[4:6]}
    env = make_env()
    with ikp.Recorder(OUT / "data", fps=10, robot=ROBOT, units="rad", frame=frame, task="reach") as recorder:
        while recorder.episodes < EPISODES:
            observation, _ = env.reset(seed=recorder.episodes)
            q_goal, done = joints_at_goal(observation), False
            while not done:
                q = joints(observation)
                action = q + np.clip(q_goal - q, -0.3, 0.3)
                recorder.add(observation, action)
                observation, _, terminated, truncated, info = env.step(action)
                done = terminated or truncated
            recorder.save_episode(success=near(info))

    demonstrations = ikp.load_dataset(OUT / "data", robot=ROBOT)
    policy = ikp.make_policy(ROBOT, demonstrations.spec, ikp.recipe("quick").policy_for("ikp"))
    config = ikp.TrainConfig(steps=STEPS, learning_rate=4e-3)
    ikp.train(policy, demonstrations, config, out=OUT / "run", resume=True)
    report = ikp.evaluate(make_env, ikp.load_policy(OUT / "run"), frame=frame, success=near, episodes=20)
    print(f"within 2 cm at the end of {report.success_rate:.0%} of {len(report.episodes)} unseen episodes")
