"""A task for tests: one prismatic joint has to reach a goal. Importing this registers it with its expert."""

import os
import signal
import time

import gymnasium
import numpy as np

from ikp.kinematics import Robot
from ikp.tasks import TaskEntry, register_task


class ToyRobot:
    name = "slider"
    joint_names = ("slide",)
    joint_types = ("prismatic",)
    tip_names = ("tip",)


class ToyEnv(gymnasium.Env):
    """The state is the position, the environment state the goal; both show in the image.

    Args:
        fail_below: episodes whose goal is lower never succeed.
        die_above: episodes whose goal is higher kill their process.
        duration: a step takes this long [s].
        talks: prints at every reset.
    """

    camera_names = ("top",)
    action_names = ("slide.pos",)
    state_names = ("slide.pos",)
    environment_state_names = ("goal.x",)
    joint_dims = (0,)
    discrete_dims = ()
    control_dt = 0.1
    robot: Robot = ToyRobot()

    def __init__(self, fail_below=-1.0, die_above=2.0, duration=0.0, error=False, talks=False):
        self.fail_below, self.die_above, self.duration, self.error = fail_below, die_above, duration, error
        self.talks = talks
        box = gymnasium.spaces.Box
        self.action_space = box(-2, 2, (1,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            state=box(-9, 9, (1,), np.float32),
            environment_state=box(-9, 9, (1,), np.float32),
            image=box(0, 255, (8, 8, 3), np.uint8),
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.talks:
            print("a toy", flush=True)
        self.position, self.goal = 0.0, float(self.np_random.uniform())
        return self._observe(), {}

    def step(self, action):
        time.sleep(self.duration)
        if self.goal > self.die_above:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error:
            raise ZeroDivisionError("the simulation broke")
        self.position = float(action[0])
        success = abs(self.position - self.goal) < 0.05 and self.goal > self.fail_below
        return self._observe(), float(success), success, False, {"success": success}

    def _observe(self):
        image = np.full((8, 8, 3), 255 * self.goal, np.uint8)
        image[:4] = int(abs(100 * self.position)) % 256
        return {
            "state": np.array([self.position], np.float32),
            "environment_state": np.array([self.goal], np.float32),
            "image": image,
        }


class ToyExpert:
    """Goes a share of the way."""

    def __init__(self, env, rng, perturbation, gain=0.6):
        self.env, self.rng, self.perturbation, self.gain = env.unwrapped, rng, perturbation, gain

    def action(self):
        return np.array([self.env.position + self.gain * (self.env.goal - self.env.position)], np.float32)

    def perturb(self, action):
        return action + np.float32(self.perturbation * self.rng.normal())


register_task(TaskEntry("toy", "test/Toy-v0", "Toy", ToyEnv, ToyExpert, max_episode_steps=15))
register_task(TaskEntry("no-expert", "test/NoExpert-v0", "Toy without expert", ToyEnv))
