"""The policies, demonstrations and peers that the benchmarks of training and inference share.

Sizes are those of real tasks, contents random: the cost depends on neither weights nor pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ikp.data import Demonstrations
from ikp.kinematics import Robot
from ikp.policies import ImplicitPolicy, make_policy
from ikp.policies.config import SearchConfig
from ikp.recipes import recipe
from ikp.spec import DataSpec

ENVIRONMENT_STATE = 9
"""Numbers that stand for the objects where a policy sees no images, as in the insertion task."""
CAMERA = {"front": (96, 96, 3)}
EPISODE = 32
NO_GPU = "this machine has no GPU"


@dataclass(frozen=True)
class Case:
    """A size.

    Attributes:
        robot: makes the arm.
        gripper: whether there is a discrete dimension beside the joints.
        pixels: one 96x96 camera; otherwise the privileged state.
    """

    robot: Callable[[], Robot]
    gripper: bool
    pixels: bool

    @property
    def source(self) -> str:
        """The policy's inputs in words."""
        return "96x96 pixels" if self.pixels else "state"

    @property
    def joints(self) -> str:
        """The action, in words."""
        return f"{self.robot().dof} joints{' + gripper' if self.gripper else ''}"

    def spec(self) -> DataSpec:
        """Joints, and where there is one the gripper's command and state."""
        robot = self.robot()
        extra = ("gripper",) if self.gripper else ()
        objects = tuple(f"object_{i}" for i in range(ENVIRONMENT_STATE))
        return DataSpec(
            action_names=(*robot.joint_names, *extra),
            state_names=(*robot.joint_names, *extra),
            environment_state_names=() if self.pixels else objects,
            image_shapes=CAMERA if self.pixels else {},
            joint_dims=tuple(range(robot.dof)),
            discrete_dims=(robot.dof,) if self.gripper else (),
        )

    def demonstrations(self, frames: int = 1024) -> Demonstrations:
        """Random frames: joints around the middle, actions within half a step of the fastest motion."""
        spec, robot = self.spec(), self.robot()
        q = 0.5 * torch.randn(frames, robot.dof)
        step = robot.velocity.float() / spec.fps
        target = q + step * (torch.rand(frames, robot.dof) - 0.5)
        grip = (torch.rand(2, frames, int(self.gripper)) > 0.5).float()
        images = {
            camera: torch.randint(0, 255, (frames, *shape), dtype=torch.uint8)
            for camera, shape in spec.image_shapes.items()
        }
        return Demonstrations(
            spec=spec,
            state=torch.cat([q, grip[0]], -1),
            action=torch.cat([target, grip[1]], -1),
            environment_state=torch.randn(frames, spec.environment_state_dim),
            images=images,
            episode_index=torch.arange(frames) // EPISODE,
            frame_index=torch.arange(frames) % EPISODE,
            success=torch.ones(math.ceil(frames / EPISODE), dtype=torch.bool),
        )

    def policy(self, demonstrations: Demonstrations) -> ImplicitPolicy:
        """An untrained IKP of the recipe standard with the scales of the demonstrations."""
        torch.manual_seed(0)
        policy = make_policy(self.robot(), self.spec(), recipe("standard").policy_for("ikp"))
        assert isinstance(policy, ImplicitPolicy)
        policy.fit_scales(demonstrations.state, demonstrations.action, demonstrations.environment_state)
        return policy


def candidates(config: SearchConfig) -> int:
    """Candidates per dimension that one decision scores."""
    return config.grid + config.refinements * config.fine_points


def resolution(policy: ImplicitPolicy) -> dict[str, float]:
    """How fine the search is at this policy's bounds, the widest dimension [deg].

    `point` is the distance of neighbouring candidates in the last refinement of a search for the point of least
    energy, `window` that of a search by probability; the latter's answer is a mean, finer than its candidates.
    """
    config = policy.config.search
    widest = math.degrees(float((policy.bounds.high - policy.bounds.low).max()))
    steps = config.fine_points - 1
    return {
        "bounds": round(widest, 2),
        "point": round(widest * (2 / steps) ** config.refinements / (config.grid - 1), 5),
        "window": round(widest * 4 * config.window / steps, 3),
    }
