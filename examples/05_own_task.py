"""Your own task: a Gymnasium environment with its expert, registered; then collect, train and evaluate."""

from pathlib import Path

import gymnasium
import numpy as np
import torch

import ikp
from ikp.tasks import TaskEntry, register_task

EPISODES = 100
STEPS = 300
OUT = Path("outputs/examples/05")


class ReachEnv(gymnasium.Env):
    """The arm has to bring its tip within 2 cm of a goal. The attributes name what a data set stores."""

    robot = ikp.load_robot("ur5e")
    action_names = state_names = tuple(f"{name}.pos" for name in robot.joint_names)
    environment_state_names = ("goal.x", "goal.y", "goal.z")
    joint_dims, discrete_dims, camera_names, control_dt = tuple(range(6)), (), (), 0.1
    box = gymnasium.spaces.Box(-7, 7, (6,), np.float32)
    action_space = box
    observation_space = gymnasium.spaces.Dict(
        state=box, environment_state=gymnasium.spaces.Box(-2, 2, (3,), np.float32)
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        home = np.array([0.0, -1.4, 2.0, -2.2, -1.57, 0.0])
        self.q = home + self.np_random.uniform(-0.1, 0.1, 6)
        self.q_goal = home + self.np_random.uniform(-0.4, 0.4, 6) * (1, 1, 1, 0, 0, 0)
        self.goal = self.tip(self.q_goal)
        return self.observation(), {}

    def step(self, action):
        self.q = self.q + np.clip(action - self.q, -0.3, 0.3)
        error = float(np.linalg.norm(self.tip(self.q) - self.goal))
        success = error < 0.02
        return self.observation(), float(success), success, False, {"success": success, "error": error}

    def tip(self, q):
        return ikp.forward_kinematics(self.robot, torch.from_numpy(q))[
            self.robot.tip_indices[0], :3, 3
        ].numpy()

    def observation(self):
        return {"state": self.q.astype(np.float32), "environment_state": self.goal.astype(np.float32)}


class ReachExpert:
    """Moves a part of the way in each step; `perturb` disturbs what is executed, not what is recorded."""

    def __init__(self, env, rng, perturbation):
        self.env, self.rng, self.perturbation = env.unwrapped, rng, perturbation

    def action(self):
        return (self.env.q + 0.4 * (self.env.q_goal - self.env.q)).astype(np.float32)

    def perturb(self, action):
        return action + self.rng.normal(0, 0.05 * self.perturbation, 6).astype(np.float32)


register_task(TaskEntry("reach", "example/Reach-v0", "Reaching", ReachEnv, ReachExpert, max_episode_steps=25))

if __name__ == "__main__":
    ikp.collect("reach", OUT / "data", EPISODES, perturbation=1.0, workers=1)
    demonstrations = ikp.load_dataset(OUT / "data")
    policy = ikp.make_policy(ReachEnv.robot, demonstrations.spec, ikp.recipe("quick").policy_for("ikp"))
    ikp.train(
        policy, demonstrations, ikp.TrainConfig(steps=STEPS, learning_rate=4e-3), out=OUT / "run", resume=True
    )
    report = ikp.evaluate("example/Reach-v0", ikp.load_policy(OUT / "run"), episodes=20)
    print(f"success in {report.success_rate:.0%} of {len(report.episodes)} unseen episodes")
