"""The image plane as a further action space: the goal of the motion in the image, and candidates relative to it.

A heatmap over the camera's feature map gives the pixel of the goal. The camera model maps it to a plane at the height
at which the tool works, and a polar patch sampled around that point gives the heading of the tool (`ikp.nets.goal`).
The targets are hindsight goals: the tool pose at the next gripper event of the demonstration, by the policy's own
kinematics. The goal is part of the observation, and each candidate of each joint has the pose of the tool relative to
the goal as features, with the later joints as measured (paper, Eq. 1: one more space in which the policy sees the same
action, consistent by kinematics).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ikp.kinematics import Robot, back_project, project
from ikp.kinematics.rotations import compose, exp_rotation, inverse_pose
from ikp.nets.goal import (
    HeatMap,
    PolarProfile,
    circle,
    expected_heading,
    expected_pixel,
    heading_loss,
    pixel_loss,
    sample_pixels,
)
from ikp.policies.config import PolicyConfig
from ikp.policies.link_features import LINK_GAIN, AffineFeatures, LinkPoses
from ikp.spec import DataSpec

RINGS = (0.015, 0.03, 0.045, 0.06, 0.08)
"""Radii of the polar patch [m]."""
ANGLES = 48
SEEN = 16
"""Channels of the feature map that the patch samples, in addition to the colours of the image."""
GOAL_SCALE = 0.1
"""Metres per unit of the goal's position."""
ERROR_SCALE = 0.05
"""Metres per unit of the displacement of a candidate from the goal."""
FINE_POSITION, FINE_HEADING = 0.02, 0.2
"""Scales [m, sine] at which the observed displacement to the goal is repeated, through a tanh."""
SHIFT_SCALE = 0.02
"""Metres per unit of the patch's correction of the goal's position."""
TIP_FEATURES = 5
"""Features of a candidate (`ImagePlane.candidate_features`)."""
OBSERVED_FEATURES = 12
"""Features of the observation (`ImagePlane.observation_features`)."""


@dataclass(frozen=True)
class Goal:
    """Estimated goal of the motion, in the base frame.

    Attributes:
        logits: logits of the heatmap.
        coarse: mean position of the heatmap, on the plane [m].
        position: the position after the patch's correction [m].
        profile: logits over the tool's heading.
        heading: mean heading (cos, sin).
    """

    logits: Float[Tensor, "batch rows columns"]
    coarse: Float[Tensor, "batch 2"]
    position: Float[Tensor, "batch 2"]
    profile: Float[Tensor, "batch angles"]
    heading: Float[Tensor, "batch 2"]

    def rows(self, index: Int[Tensor, " kept"]) -> Goal:
        """The goals of some examples; an index may repeat."""
        return Goal(*(value[index] for value in vars(self).values()))


class ImagePlane(nn.Module):
    """Estimates the goal of the motion from a calibrated camera, and computes features relative to it.

    The heading of the tool is the direction, seen from above, of the axis of the tip frame that is most horizontal in
    the demonstrations.

    Args:
        robot: a robot with one tip.
        spec: the data; its first camera with a model is used.
        config: options of the policy, with an `image_plane`.

    Raises:
        ValueError: the robot has several tips, no camera has a model, or the encoder has no feature map.
    """

    K: Tensor
    T_base_camera: Tensor
    height: Tensor
    center: Tensor
    axis: Tensor
    on_chain: Tensor

    def __init__(self, robot: Robot, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__()
        assert config.image_plane is not None
        self.camera = _camera_of(spec)
        if len(robot.tip_indices) != 1:
            raise ValueError(
                f"robot {robot.name!r} has the tips {list(robot.tip_names)}: the image plane follows one tip; load "
                "the robot with tips=(one,) or leave the image plane out"
            )
        if config.encoder.kind != "keypoint":
            raise ValueError(f"encoder kind {config.encoder.kind!r} has no feature map: choose 'keypoint'")
        rows, columns, _ = spec.image_shapes[self.camera]
        self.size = (columns, rows)
        camera = spec.cameras[self.camera].resized(rows, columns)
        self.register_buffer("K", camera.intrinsics().float(), persistent=False)
        self.register_buffer("T_base_camera", camera.pose().float(), persistent=False)
        self.register_buffer("height", torch.zeros(()))
        self.register_buffer("center", torch.zeros(2))
        self.register_buffer("axis", torch.tensor([1.0, 0.0, 0.0]))
        tip = robot.tip_indices[0]
        on_chain = [robot.descends(tip, link) for link in robot.joint_links]
        self.last_joint = max(joint for joint, on in enumerate(on_chain) if on)
        self.register_buffer("on_chain", torch.tensor(on_chain).float()[:, None], persistent=False)
        self.phase_dims = [dim for dim in range(spec.state_dim) if dim not in spec.joint_dims]
        channels, phase = config.encoder.channels, len(self.phase_dims)
        self.heatmap = HeatMap(channels, phase)
        self.seen = nn.Conv2d(channels, SEEN, 1)
        self.profile = PolarProfile(SEEN + 3, len(RINGS), phase)
        self.camera_pose = nn.Parameter(torch.zeros(6)) if config.image_plane.refine_camera else None

    @torch.no_grad()
    def fit(self, poses: LinkPoses, goal_joints: Float[Tensor, "frames dof"]) -> None:
        """Set the height of the plane, the mean of the goals and the heading's axis from demonstrations.

        Args:
            poses: the kinematics.
            goal_joints: measured joints at the next gripper event of each frame [rad or m].
        """
        tips = self.tip(poses.far_ends(poses.residual(goal_joints)))
        self.height.copy_(tips[:, 2, 3].median())
        self.center.copy_(tips[:, :2, 3].mean(0))
        flattest = tips[:, 2, :3].abs().mean(0).argmin()
        self.axis.copy_(F.one_hot(flattest, 3))

    def tip(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> Float[Tensor, "batch 3 4"]:
        """T_base_tip, selected from the child frames of all joints."""
        return far_ends[:, self.last_joint]

    def pose(self) -> Float[Tensor, "4 4"]:
        """T_base_camera, with the learned correction if there is one."""
        if self.camera_pose is None:
            return self.T_base_camera
        moved = torch.eye(4, device=self.K.device, dtype=self.K.dtype)
        upper = torch.cat([exp_rotation(self.camera_pose[3:]), self.camera_pose[:3, None]], 1)
        return compose(self.T_base_camera, torch.cat([upper, moved[3:]]))

    def estimate(
        self,
        maps: Float[Tensor, "batch c rows4 columns4"],
        image: UInt8[Tensor, "batch rows columns 3"],
        state: Float[Tensor, "batch state"],
    ) -> Goal:
        """Estimate the goal of the motion.

        Args:
            maps: the encoder's rectified feature map.
            image: the image of the newest frame.
            state: the standardised state of the newest frame.
        """
        phase, pose = state[:, self.phase_dims], self.pose()
        hidden, seen = self._read(maps, state.dtype)
        logits = self.heatmap(hidden, phase)
        coarse = back_project(self.K, pose, expected_pixel(logits, *self.size), self.height)
        middle = coarse.detach()
        pixels = project(self.K, pose, self._rings(middle))
        colours = image.to(seen.dtype).mul_(1 / 127.5).sub_(1)
        channels_first = [part.permute(0, 3, 1, 2) for part in (seen, colours)]
        patch = torch.cat([sample_pixels(part, pixels, *self.size) for part in channels_first], 1)
        profile, shift = self.profile(patch, phase)
        return Goal(logits, coarse, middle + SHIFT_SCALE * shift, profile, expected_heading(profile))

    def _read(
        self, maps: Float[Tensor, "batch c rows4 columns4"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "batch rows4 columns4 hidden"], Float[Tensor, "batch rows4 columns4 seen"]]:
        """The heatmap's hidden layer and the channels for the patch, by one product in the precision of the map."""
        parts = self.heatmap.inner, self.seen
        weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=maps.dtype == torch.bfloat16):
            found = F.linear(maps.permute(0, 2, 3, 1), weight.flatten(1), bias)
        hidden, seen = found.to(dtype).split([part.out_channels for part in parts], -1)
        return hidden, seen

    def _rings(self, middle: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch rings angles 3"]:
        """Points of the polar patch on the plane."""
        radii = middle.new_tensor(RINGS)[:, None]
        cos, sin = circle(ANGLES, middle)
        around = torch.stack([radii * cos, radii * sin, torch.zeros_like(radii * cos)], -1)
        center = torch.cat([middle, self.height.expand(len(middle), 1)], -1)
        return center[:, None, None] + around

    def losses(self, goal: Goal, tip: Float[Tensor, "batch 3 4"]) -> dict[str, Float[Tensor, ""]]:
        """Losses of the estimate against the hindsight goal: pixel, heading (cross-entropies) and position.

        Args:
            goal: the estimate.
            tip: T_base_tip at the next gripper event.
        """
        tip = tip.detach()
        place, heading = tip[:, :2, 3], F.normalize((tip[:, :2, :3] @ self.axis), dim=-1, eps=1e-6)
        on_plane = torch.cat([place, self.height.expand(len(place), 1)], -1)
        pixels = project(self.K, self.pose().detach(), on_plane)
        return {
            "goal_pixel": pixel_loss(goal.logits, pixels, *self.size),
            "goal_place": F.smooth_l1_loss(goal.position / SHIFT_SCALE, place / SHIFT_SCALE),
            "goal_heading": heading_loss(goal.profile, heading),
        }

    def observation_features(
        self, goal: Goal, tip: Float[Tensor, "batch 3 4"]
    ) -> Float[Tensor, "batch features"]:
        """The goal, and the displacement to it from the measured tip; no gradient flows into the goal."""
        place, heading = goal.position.detach(), goal.heading.detach()
        displacement = place - tip[:, :2, 3]
        axis = tip[:, :2, :3] @ self.axis
        sine = axis[:, 0] * heading[:, 1] - axis[:, 1] * heading[:, 0]
        turn = torch.stack([(axis * heading).sum(-1), sine], -1)
        fine = [torch.tanh(displacement / FINE_POSITION), torch.tanh(turn[:, 1:] / FINE_HEADING)]
        coarse = [(place - self.center) / GOAL_SCALE, heading, displacement / GOAL_SCALE, turn]
        height = (tip[:, 2:, 3] - self.height) / GOAL_SCALE
        return torch.cat([*coarse, *fine, height], -1)

    def candidate_features(self, far_ends: Float[Tensor, "batch dof 3 4"], goal: Goal) -> AffineFeatures:
        """Position and heading of the tip relative to the goal, with the later joints as measured.

        The tip moves rigidly with the link of the candidate's joint, so its pose is affine in that joint's child frame.

        Args:
            far_ends: T_base_farend at the corrected measured joints.
            goal: goal of the motion; no gradient flows into it.
        """
        T_end_tip = compose(inverse_pose(far_ends), far_ends[:, self.last_joint, None])
        whole = torch.ones_like(T_end_tip[..., :1, 3])
        point = torch.cat([T_end_tip[..., 3], whole], -1)  # the tip in the child frame, homogeneous
        axis = torch.cat(
            [T_end_tip[..., :3] @ self.axis, 0 * whole], -1
        )  # the heading's axis in the child frame
        place, (cos, sin) = goal.position.detach(), goal.heading.detach().unbind(-1)
        zero = torch.zeros_like(cos)
        along, across = torch.stack([cos, sin, zero], -1), torch.stack([-sin, cos, zero], -1)
        axes = torch.eye(3, dtype=point.dtype, device=point.device) / ERROR_SCALE
        position = point[..., None, :, None] * axes[:, None]  # (batch, dof, 3, 4, 3)
        heading = axis[..., None, :, None] * torch.stack([along, across], -1)[:, None, :, None]
        weight = torch.cat([position, heading], -1).flatten(2, 3)
        at_goal = torch.cat([place, self.height.expand(len(place), 1)], -1) / ERROR_SCALE
        goal_terms = torch.cat([at_goal, place.new_tensor([1.0, 0.0]).expand_as(place)], -1)
        gain = LINK_GAIN * self.on_chain
        return AffineFeatures(gain[..., None] * weight, -gain * goal_terms[:, None])


def _camera_of(spec: DataSpec) -> str:
    if not spec.cameras:
        raise ValueError(
            f"the image plane needs a camera's model, and of the cameras {list(spec.camera_names)} none has one: "
            "collect the data again, or give the camera (--camera NAME=camera.json)"
        )
    return next(iter(spec.cameras))
