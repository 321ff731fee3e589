"""A simulated person at a 3D mouse: a task's expert moves it, with the roughness of a hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ikp.kinematics import forward_kinematics
from ikp.kinematics.rotations import log_rotation
from ikp.robots.config import ControllerConfig
from ikp.robots.interfaces import Motion
from ikp.tasks.base import ArmTask

LOOKS = 20.0
"""Rate at which the person looks at the scene [Hz]."""
STEPS = 350.0
"""Positions of an axis of the device from rest to full deflection."""


@dataclass(frozen=True)
class Roughness:
    """How a hand differs from a plan; all zero is the plan itself.

    Attributes:
        speed: standard deviation of the logarithm of the speed, which varies over a second.
        tremor: standard deviation of the axes, as a fraction of their deflection.
        pauses: pauses per second; each takes `pause_length` [s] on average.
        slips: wrong moves per second, which have to be corrected; each has up to a third of full deflection.
        inertia: time constant of the hand [s].
        reaction: pause before and after a switch of the gripper [s].
    """

    speed: float = 0.3
    tremor: float = 0.08
    pauses: float = 0.1
    pause_length: float = 0.3
    slips: float = 0.15
    inertia: float = 0.06
    reaction: float = 0.15


SMOOTH = Roughness(speed=0.0, tremor=0.0, pauses=0.0, slips=0.0, inertia=0.0, reaction=0.0)


class ScriptedMouse:
    """A `Teleoperator` that demonstrates a simulated task.

    The expert says where the joints should be a control step later; the mouse is pushed so that the tip goes there, or,
    where the expert says `in_joint_space`, the joints.

    Args:
        look: gives the task's environment as it is now.
        make_expert: the task's expert, called with the environment and a random generator.
        config: the controller's speeds at full deflection.
        roughness: of the hand.
        seed: of its randomness; an episode's own number is added.
    """

    def __init__(
        self,
        look: Callable[[], ArmTask],
        make_expert: Callable[..., Any],
        config: ControllerConfig,
        roughness: Roughness | None = None,
        seed: int = 0,
    ) -> None:
        self._look, self._make_expert, self._config = look, make_expert, config
        self._roughness = Roughness() if roughness is None else roughness
        self._seed, self._episode = seed, -1
        self.reset()

    def reset(self) -> None:
        """Begin the next episode."""
        self._episode += 1
        self._rng = np.random.default_rng((self._seed, self._episode, 0x3D))
        self._expert = self._make_expert(self._look(), self._rng)
        self._time: float | None = None
        self._looked = self._pause_until = self._slip_until = self._switch_at = -np.inf
        self._plan, self._hand = Motion(np.zeros(6)), np.zeros(6)
        self._mood, self._slip, self._tremor = 0.0, np.zeros(6), np.zeros(6)
        self._pending: bool | None = None
        self._closed = False

    def read(self, now: float) -> Motion:
        """Motion of the simulated hand at a time [s]."""
        dt = 0.0 if self._time is None else now - self._time
        self._time = now
        if now - self._looked >= 1.0 / LOOKS - 1e-9:
            self._looked = now
            self._plan = self._intention()
            self._decide_switch(now)
            self._stray(now)
        axes = np.zeros(6) if now < self._pause_until else self._rough(self._plan.axes, now)
        inertia = self._roughness.inertia
        self._hand += (axes - self._hand) * (1.0 - np.exp(-dt / inertia) if inertia > 0 else 1.0)
        hand = np.round(np.clip(self._hand, -1.0, 1.0) * STEPS) / STEPS
        return Motion(hand, float(self._closed), self._plan.in_joint_space, self._plan.done)

    def close(self) -> None:
        """Nothing to disconnect."""

    def _intention(self) -> Motion:
        """The motion that brings the arm where the expert wants it a control step later."""
        env = self._look()
        action = self._expert.action()
        dof, robot, config = env.robot.dof, env.robot, self._config
        q = env.miscalibration.measured(env.data.qpos[:dof])
        target = np.asarray(action[:dof], dtype=np.float64)
        closed = float(action[dof]) if len(action) > dof else 0.0
        in_joint_space = bool(getattr(self._expert, "in_joint_space", False))
        if in_joint_space:
            axes = (target - q) / env.control_dt / config.joint_speed
        else:
            poses = forward_kinematics(robot, torch.from_numpy(np.stack([q, target])))[
                :, robot.tip_indices[0]
            ]
            turn = log_rotation(poses[1, :3, :3] @ poses[0, :3, :3].T).numpy()
            move = (poses[1, :3, 3] - poses[0, :3, 3]).numpy()
            scales = np.repeat([config.linear_speed, config.angular_speed], 3)
            axes = np.concatenate([move, turn]) / env.control_dt / scales
        axes = axes / max(np.abs(axes).max(), 1.0)
        return Motion(axes, closed, in_joint_space, bool(getattr(self._expert, "done", False)))

    def _decide_switch(self, now: float) -> None:
        """Switch the gripper a reaction time after the wish for it, with the hand at rest."""
        wanted, reaction = self._plan.closed > 0.5, self._roughness.reaction
        if wanted == self._closed:
            self._pending = None
        elif self._pending is None and reaction > 0:
            self._pending, self._pause_until = wanted, now + 2 * reaction
            self._switch_at = now + reaction
        elif reaction == 0 or now >= self._switch_at:
            self._closed, self._pending = wanted, None

    def _stray(self, now: float) -> None:
        """Draw pauses, slips and changes of speed."""
        rough, rng, dt = self._roughness, self._rng, 1.0 / LOOKS
        keep = np.exp(-dt)
        self._mood = keep * self._mood + np.sqrt(1 - keep**2) * rng.normal()
        self._tremor = 0.7 * self._tremor + np.sqrt(1 - 0.7**2) * rng.normal(size=6)
        if now >= self._pause_until and rng.random() < rough.pauses * dt:
            self._pause_until = now + rng.exponential(rough.pause_length)
        if now >= self._slip_until and rng.random() < rough.slips * dt:
            self._slip_until = now + rng.uniform(0.1, 0.4)
            self._slip = rng.uniform(-1 / 3, 1 / 3, 6)

    def _rough(self, axes: Float[np.ndarray, "axes"], now: float) -> Float[np.ndarray, "6"]:
        rough = self._roughness
        speed = min(float(np.exp(rough.speed * self._mood)), 1.5)
        moved = np.zeros(6)
        moved[: len(axes)] = axes
        size = float(np.abs(moved).max())
        moved = speed * moved + rough.tremor * size * self._tremor
        return moved + size * self._slip if now < self._slip_until else moved
