"""More demonstrations out of few: the same scene, turned about the axis of the robot's base.

A task on a table in front of a robot stays the same task when everything, arm and objects, is turned about the base's
vertical axis: the first joint takes the turn, in what is measured and in what is commanded, and all other joints stay.
Offsets of the encoders do not matter. What a camera at a known place then sees of things near the table is a plane's
homography away from what it saw (Hartley and Zisserman, Multiple View Geometry, 2nd ed., 13.1); things high above
the plane, such as the arm, are only about where they should be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ikp.data import Demonstrations
from ikp.kinematics import Camera, Robot, forward_kinematics
from ikp.kinematics.rotations import inverse_pose
from ikp.policies.spec import DataSpec

TURNED = 0.5
"""Share of a batch that is turned; the rest keeps its sharp images, which are what the policy will meet."""
CHECK_ANGLE = 0.3


def base_joint(robot: Robot) -> tuple[int, float] | None:
    """The joint that turns every tip about the z axis of the base, and +1 or -1 for its direction; None without one."""
    q = torch.zeros(robot.dof, dtype=torch.float64)
    tips = list(robot.tip_indices)
    before = forward_kinematics(robot, q)[tips]
    for j in range(robot.dof):
        turned = q.clone()
        turned[j] = CHECK_ANGLE
        after = forward_kinematics(robot, turned)[tips]
        for sign in (1.0, -1.0):
            if torch.allclose(
                after, about_z(torch.tensor(sign * CHECK_ANGLE, dtype=q.dtype)) @ before, atol=1e-9
            ):
                return j, sign
    return None


def about_z(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4 4"]:
    """Turns about z [rad]."""
    T = torch.eye(4, dtype=angle.dtype, device=angle.device).repeat(*angle.shape, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    T[..., 0, 0], T[..., 0, 1], T[..., 1, 0], T[..., 1, 1] = cos, -sin, sin, cos
    return T


def turn_images(
    images: UInt8[Tensor, "batch frames rows columns 3"],
    angle: Float[Tensor, " batch"],
    camera: Camera,
    height: float,
) -> UInt8[Tensor, "batch frames rows columns 3"]:
    """Images as they would be with the plane z = `height` of the base frame turned about z; edges repeated.

    Args:
        images: all frames of an example are turned alike.
        angle: [rad].
        camera: its pose in the base frame.
        height: of the plane in the base frame [m].
    """
    batch, frames, rows, columns, _ = images.shape
    seen = camera.resized(rows, columns)
    P = seen.intrinsics() @ inverse_pose(seen.pose())[:3]
    H = torch.stack([P[:, 0], P[:, 1], P[:, 2] * height + P[:, 3]], 1)  # (x, y, 1) of the plane to pixels
    back = H @ about_z(-angle.double())[:, [0, 1, 3]][:, :, [0, 1, 3]] @ torch.linalg.inv(H)
    v, u = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) + 0.5 for n in (rows, columns)), indexing="ij"
    )  # centres of pixels
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).reshape(-1, 3).to(images.device)
    source = pixels @ back.to(pixels).transpose(1, 2)
    size = pixels.new_tensor([columns, rows])
    grid = 2 * source[..., :2] / source[..., 2:] / size - 1
    stacked = images.permute(0, 1, 4, 2, 3).reshape(batch, frames * 3, rows, columns).float()
    turned = F.grid_sample(
        stacked, grid.reshape(batch, rows, columns, 2), padding_mode="border", align_corners=False
    )
    return turned.round_().to(torch.uint8).reshape(batch, frames, 3, rows, columns).permute(0, 1, 3, 4, 2)


class SceneTurn:
    """Turns some examples of a batch, each by an angle of its own.

    Args:
        robot: the kinematic model.
        spec: of the data; every camera needs its model, and there must be no `environment_state`.
        degrees: the largest angle.
        height: of the plane on which the objects lie in the base frame [m] (`working_height`).

    Raises:
        ValueError: robot or data do not allow it; the message says why.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, degrees: float, height: float) -> None:
        wish = f"scene_turn is {degrees:g} degrees"
        found = None if robot is None else base_joint(robot)
        if found is None:
            raise ValueError(
                f"{wish}: it needs a robot with one joint that turns all of it about the base's z axis; set it to 0"
            )
        if spec.environment_state_dim:
            raise ValueError(
                f"{wish}, and the observation has an environment_state ({', '.join(spec.environment_state_names[:3])}, "
                "...) that cannot be turned along: set it to 0, or train from images"
            )
        unknown = [name for name in spec.camera_names if name not in spec.cameras]
        if unknown:
            raise ValueError(
                f"{wish}, and the place of the cameras {', '.join(unknown)} is not known: give their models "
                "(--camera NAME=camera.json), or set it to 0"
            )
        (joint, self.sign), self.most = found, math.radians(degrees)
        self.dim, self.cameras, self.height = spec.joint_dims[joint], spec.cameras, height

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch as `Demonstrations.batch` gives it, its first half turned; draws from torch's global random state."""
        state = batch["state"]
        count = math.ceil(TURNED * len(state))
        angle = self.most * (2 * torch.rand(count, device=state.device) - 1)
        turned = dict(batch)
        for name in ("state", "action", "goal_state"):
            if name in batch:
                turned[name] = batch[name].clone()
                share = (self.sign * angle).to(state).reshape(-1, *[1] * (turned[name].ndim - 2))
                turned[name][:count, ..., self.dim] += share
        turned["images"] = {
            name: torch.cat(
                [turn_images(images[:count], angle, self.cameras[name], self.height), images[count:]]
            )
            for name, images in batch["images"].items()
        }
        return turned


def working_height(robot: Robot, demonstrations: Demonstrations) -> float:
    """Median height of the tips above the base where the demonstrations switch a gripper, or end [m]."""
    joints = demonstrations.goal_state[:, list(demonstrations.spec.joint_dims)].cpu()
    tips = forward_kinematics(robot, joints)[:, list(robot.tip_indices)]
    return float(tips[..., 2, 3].median())
