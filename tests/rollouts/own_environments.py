"""Environments as other people write them: their own keys, spaces, successes and ends."""

import gymnasium
import numpy as np

BOX = gymnasium.spaces.Box


class Point(gymnasium.Env):
    """A point on a line, which an action moves; the goal is drawn at the start. No word of success."""

    metadata = {"render_modes": ["rgb_array"]}
    alive = 0
    most_alive = 0

    def __init__(self, length=6, render_mode=None, **wrong):
        assert not wrong
        self.length, self.render_mode = length, render_mode
        self.action_space = BOX(-1, 1, (1,), np.float64)
        self.observation_space = self.make_space()
        self.closed = False
        kind = type(self)
        kind.alive += 1
        kind.most_alive = max(kind.most_alive, kind.alive)

    def make_space(self):
        return BOX(-9, 9, (2,), np.float64)

    def observe(self):
        return np.array([self.x, self.goal])

    def info(self):
        return {"distance": abs(self.x - self.goal), "text": "words"}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.goal, self.steps = 0.0, float(self.np_random.uniform(-1, 1)), 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.dtype == action.dtype
        self.x += float(action[0])
        self.steps += 1
        return self.observe(), -abs(self.x - self.goal), self.steps == self.length, False, self.info()

    def render(self):
        return None if self.render_mode is None else np.full((16, 16, 3), 100, np.uint8)

    def close(self):
        self.closed = True
        type(self).alive -= 1


class GoalPoint(Point):
    """Keys and success of gymnasium-robotics."""

    def make_space(self):
        box = BOX(-9, 9, (1,), np.float64)
        return gymnasium.spaces.Dict(observation=box, desired_goal=box, achieved_goal=box)

    def observe(self):
        x, goal = np.array([self.x]), np.array([self.goal])
        return {"observation": x, "desired_goal": goal, "achieved_goal": x}

    def info(self):
        return {"is_success": np.float32(abs(self.x - self.goal) < 0.05)}


class CameraPoint(Point):
    """Keys of gym-aloha and gym-pusht."""

    def make_space(self):
        image = gymnasium.spaces.Dict(top=BOX(0, 255, (8, 8, 3), np.uint8))
        return gymnasium.spaces.Dict(agent_pos=BOX(-9, 9, (1,), np.float64), pixels=image)

    def observe(self):
        image = np.full((8, 8, 3), int(100 * (self.goal + 1)), np.uint8)
        return {"agent_pos": np.array([self.x]), "pixels": {"top": image}}

    def info(self):
        return {"success": abs(self.x - self.goal) < 0.05}


class Endless(Point):
    """Never ends."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


gymnasium.register("other/Point-v0", entry_point=Point)
gymnasium.register("other/CameraPoint-v0", entry_point=CameraPoint)
