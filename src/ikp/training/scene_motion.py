"""Additional demonstrations by rotating and shifting whole scenes on the table.

A task on a table stays the same when everything, arm and objects, is rotated about the axis of the robot's base or
shifted along the table. The tips follow this motion. The joints for a rotation come from the base joint if there is
one, which is exact for any encoder offset; for a shift they come from inverse kinematics near the measured joints (an
encoder offset of 0.03 rad costs about a millimetre at 3 cm). Object poses in the observation follow exactly. Images of
a calibrated camera follow by the homography of the table's plane (Hartley and Zisserman, Multiple View Geometry, 2nd
ed., 13.1), so that things high above the plane, such as the arm, are only approximately at their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ikp.data import Demonstrations
from ikp.kinematics import Camera, Robot, forward_kinematics, inverse_kinematics
from ikp.kinematics.camera import plane_homography
from ikp.kinematics.rotations import inverse_pose
from ikp.spec import Batch, DataSpec

TURN_DEGREES, SHIFT_METRES = 8.0, 0.03
"""Largest rotation about the base's z axis, and largest shift along x and y; 20 degrees and 6 cm were not better."""
MOVED = 0.5
"""Share of a batch that is moved; the rest keeps its original, sharp images, as at inference."""
IK_STEPS = 6
LARGEST_ERROR, LARGEST_TURN_ERROR = 5e-4, 2e-3
"""Largest errors of inverse kinematics [m, rad]; examples with larger ones are not moved."""
CHECK_ANGLE, CHECKED = 0.3, 3


def base_joint(robot: Robot) -> tuple[int, float] | None:
    """The joint that rotates all tips about the base's z axis, and its direction +1 or -1; None if there is none."""
    # random configurations, because in an upright arm at zero the wrist rotates its tip about z as well
    q = robot.random_q((CHECKED,), generator=torch.Generator().manual_seed(0)).double()
    tips = list(robot.tip_indices)
    before = forward_kinematics(robot, q)[:, tips]
    for j in range(robot.dof):
        turned = q.clone()
        turned[:, j] += CHECK_ANGLE
        after = forward_kinematics(robot, turned)[:, tips]
        for sign in (1.0, -1.0):
            rotation = about_z(torch.tensor(sign * CHECK_ANGLE, dtype=q.dtype))
            if torch.allclose(after, rotation @ before, atol=1e-9):
                return j, sign
    return None


def about_z(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4 4"]:
    """Rotations about z by `angle` [rad], as poses."""
    T = torch.eye(4, dtype=angle.dtype, device=angle.device).repeat(*angle.shape, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    T[..., 0, 0], T[..., 0, 1], T[..., 1, 0], T[..., 1, 1] = cos, -sin, sin, cos
    return T


def planar_motions(
    angle: Float[Tensor, " batch"], shift: Float[Tensor, "batch 2"]
) -> Float[Tensor, "batch 4 4"]:
    """Rotations about the base's z axis by `angle` [rad], followed by shifts along x and y [m]."""
    T = about_z(angle)
    T[:, :2, 3] = shift
    return T


def move_images(
    images: UInt8[Tensor, "batch frames rows columns 3"],
    motion: Float[Tensor, "batch 4 4"],
    camera: Camera,
    height: float,
) -> UInt8[Tensor, "batch frames rows columns 3"]:
    """Warp images as if the plane z = `height` of the base frame had moved; edges are repeated.

    Args:
        images: images; all frames of an example move alike.
        motion: motion of the plane within itself (`planar_motions`).
        camera: model of the camera.
        height: height of the plane in the base frame [m].
    """
    batch, frames, rows, columns, _ = images.shape
    seen = camera.resized(rows, columns)
    H = plane_homography(seen.intrinsics(), seen.pose(), height)
    backwards = inverse_pose(motion.double().cpu())[:, [0, 1, 3]][:, :, [0, 1, 3]]
    # from pixels to the coordinates of `grid_sample`, which are -1 and 1 at the edges of the image
    to_grid = H.new_tensor([[2 / columns, 0, -1], [0, 2 / rows, -1], [0, 0, 1]])
    to_source = (to_grid @ H @ backwards @ torch.linalg.inv(H)).to(images.device, torch.float32)
    centres = [torch.arange(n, dtype=torch.float32, device=images.device) + 0.5 for n in (rows, columns)]
    v, u = torch.meshgrid(*centres, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)
    x, y, w = (to_source @ pixels).unbind(1)
    grid = torch.stack([x.div_(w), y.div_(w)], -1).reshape(batch, rows, columns, 2)
    stacked = images.permute(0, 1, 4, 2, 3).reshape(batch, frames * 3, rows, columns).float()
    moved = F.grid_sample(stacked, grid, padding_mode="border", align_corners=False)
    return moved.round_().to(torch.uint8).reshape(batch, frames, 3, rows, columns).permute(0, 1, 3, 4, 2)


@dataclass(frozen=True)
class PlanarPoses:
    """Dimensions of an `environment_state` that hold poses of objects on the table, in the robot's base frame.

    Attributes:
        points: the dimensions of x and y of each position.
        directions: the dimensions of cosine and sine of each heading.
    """

    points: tuple[tuple[int, int], ...]
    directions: tuple[tuple[int, int], ...]

    @classmethod
    def named(cls, names: Sequence[str]) -> PlanarPoses:
        """Find the poses by the names of the dimensions: NAME.x and NAME.y, NAME.cos_yaw and NAME.sin_yaw, NAME.z.

        Raises:
            ValueError: there are other names, or half of a pair is missing.
        """
        place = {name: i for i, name in enumerate(names)}
        pairs: dict[str, list[tuple[int, int]]] = {}
        known = {name for name in names if name.endswith(".z")}  # not changed by a motion along the table
        for one, other in ((".x", ".y"), (".cos_yaw", ".sin_yaw")):
            found = [(name, name.removesuffix(one) + other) for name in names if name.endswith(one)]
            both = [pair for pair in found if pair[1] in place]
            pairs[one] = [(place[first], place[second]) for first, second in both]
            known.update(name for pair in both for name in pair)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} of the environment_state cannot be moved: allowed are NAME.x with NAME.y, "
                "NAME.cos_yaw with NAME.sin_yaw and NAME.z, in the robot's base frame"
            )
        return cls(tuple(pairs[".x"]), tuple(pairs[".cos_yaw"]))

    def moved(
        self, state: Float[Tensor, "batch frames e"], motion: Float[Tensor, "batch 4 4"]
    ) -> Float[Tensor, "batch frames e"]:
        """The environment state with all poses moved by `motion` (`planar_motions`)."""
        turn, shift = motion[:, :2, :2].mT.to(state), motion[:, None, :2, 3].to(state)
        result = state.clone()
        for dims in map(list, self.points):
            result[..., dims] = state[..., dims] @ turn + shift
        for dims in map(list, self.directions):
            result[..., dims] = state[..., dims] @ turn
        return result


class SceneMotion:
    """Moves the scenes of some examples of a batch, each by a different random motion.

    Args:
        robot: the kinematic model.
        spec: the data; every camera needs a model, and an `environment_state` the names that `PlanarPoses.named` takes.
        height: height of the objects' plane in the base frame [m] (`working_height`).
        degrees, metres: largest rotation and shift.

    Raises:
        ValueError: robot or data do not allow it; the message says why.
    """

    def __init__(
        self,
        robot: Robot | None,
        spec: DataSpec,
        *,
        height: float,
        degrees: float = TURN_DEGREES,
        metres: float = SHIFT_METRES,
    ) -> None:
        wish = "moved_scenes is on"
        if robot is None:
            raise ValueError(f"{wish}, but moving a scene needs a robot: give one, or switch it off")
        unknown = [name for name in spec.camera_names if name not in spec.cameras]
        if unknown:
            raise ValueError(
                f"{wish}, but the cameras {', '.join(unknown)} have no model: give their models "
                "(--camera NAME=camera.json), or switch it off"
            )
        try:
            self.objects = PlanarPoses.named(spec.environment_state_names)
        except ValueError as error:
            raise ValueError(f"{wish}, but {error}; rename them, or switch it off") from None
        self.robot, self.spec, self.height = robot, spec, height
        self.most_turn, self.most_shift = math.radians(degrees), metres
        self.base = base_joint(robot)

    def __call__(self, batch: Mapping[str, Any]) -> Batch:
        """Move the first half of a training batch; draws from torch's global random state."""
        count = math.ceil(MOVED * len(batch["state"]))
        device = batch["state"].device
        angle = self.most_turn * (2 * torch.rand(count, device=device) - 1)
        shift = self.most_shift * (2 * torch.rand(count, 2, device=device) - 1)
        names = [name for name in ("state", "action", "goal_state") if name in batch]
        moved = {name: batch[name].clone() for name in names}
        joints = [
            moved[name][:count, ..., list(self.spec.joint_dims)].reshape(count, -1, self.robot.dof)
            for name in names
        ]
        q, reached = self.move_joints(torch.cat(joints, 1), angle, shift)
        angle, shift = angle * reached, shift * reached[:, None]
        for name, part in zip(names, q.split([each.shape[1] for each in joints], 1), strict=True):
            place = moved[name][:count]
            place[..., list(self.spec.joint_dims)] = part.reshape(*place.shape[:-1], -1).to(place)
        motion = planar_motions(angle, shift)
        if self.spec.environment_state_dim:
            objects = batch["environment_state"]
            moved["environment_state"] = torch.cat(
                [self.objects.moved(objects[:count], motion), objects[count:]]
            )
        if self.spec.camera_names:
            moved["images"] = {
                name: torch.cat(
                    [move_images(each[:count], motion, self.spec.cameras[name], self.height), each[count:]]
                )
                for name, each in batch["images"].items()
            }
        return cast(Batch, {**batch, **moved})

    def move_joints(
        self, q: Float[Tensor, "batch n dof"], angle: Float[Tensor, " batch"], shift: Float[Tensor, "batch 2"]
    ) -> tuple[Float[Tensor, "batch n dof"], Bool[Tensor, " batch"]]:
        """Joints after the motion of the tips, and a mask of the examples that could be moved; others are unchanged."""
        start = q.clone()
        if self.base is not None:
            joint, sign = self.base
            start[..., joint] += sign * angle[:, None]
            if not self.most_shift:
                return start, torch.ones_like(angle, dtype=torch.bool)
        tips = forward_kinematics(self.robot, q)[:, :, list(self.robot.tip_indices)]
        target = planar_motions(angle, shift)[:, None, None] @ tips
        found = inverse_kinematics(self.robot, target, start, iterations=IK_STEPS, restarts=0)
        is_exact = (found.position_error < LARGEST_ERROR) & (found.rotation_error < LARGEST_TURN_ERROR)
        reached = is_exact.all(1)
        return torch.where(reached[:, None, None], found.q, q), reached


def working_height(robot: Robot, demonstrations: Demonstrations) -> float:
    """Median height of the tips above the base at the gripper events or last frames of the demonstrations [m]."""
    joints = demonstrations.goal_state[:, list(demonstrations.spec.joint_dims)].cpu()
    tips = forward_kinematics(robot, joints)[:, list(robot.tip_indices)]
    return float(tips[..., 2, 3].median())
