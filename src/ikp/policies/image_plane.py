"""The image plane as a further action space: where the motion leads in the image, and candidates against that place.

A heatmap over the camera's feature map gives the pixel of the motion's goal, the camera its place on a plane at the
height at which the tool works, and a polar patch sampled around it the heading of the tool there (`ikp.nets.goal`).
What teaches them is hindsight: the policy's own tool pose at the demonstration's next gripper event. The goal is
shown to the policy as an observation, and each candidate of each joint as the tool's way from it, the later joints
where they are measured (paper, Eq. 1: one more space in which the same action is seen, consistent by kinematics).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ikp.kinematics import JointArcs, Robot, back_project, far_end_poses, joint_arcs, project
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
from ikp.policies.features import LINK_GAIN, FeatureArcs, LinkPoses, LinkTerms, LinkWalk
from ikp.spec import DataSpec

RINGS = (0.015, 0.03, 0.045, 0.06, 0.08)
"""Radii of the polar patch [m]."""
ANGLES = 48
SEEN = 16
"""Channels of the feature map that the patch samples, beside the image's own colours."""
GOAL_SCALE = 0.1
"""Metres per unit of a goal's place."""
ERROR_SCALE = 0.05
"""Metres per unit of a candidate's way from the goal."""
FINE_POSITION, FINE_HEADING = 0.02, 0.2
"""Where the observed way to the goal saturates, shown a second time at this scale [m, sine]."""
SHIFT_SCALE = 0.02
"""Metres per unit of the patch's correction of the goal's place."""
TIP_FEATURES = 5
GOAL_FEATURES = 4
OBSERVED_FEATURES = GOAL_FEATURES + 8


@dataclass(frozen=True)
class Goal:
    """Where the motion leads, in the base frame.

    Attributes:
        logits: of the heatmap.
        coarse: the heatmap's mean, on the plane [m].
        position: the same, corrected by the patch [m].
        profile: logits over the tool's heading.
        heading: its mean (cos, sin).
    """

    logits: Float[Tensor, "batch rows columns"]
    coarse: Float[Tensor, "batch 2"]
    position: Float[Tensor, "batch 2"]
    profile: Float[Tensor, "batch angles"]
    heading: Float[Tensor, "batch 2"]


class ImagePlane(nn.Module):
    """A camera and what is read from its images through it.

    The tool's heading is the direction, seen from above, of that axis of the tip frame which lies flattest in the
    demonstrations.

    Args:
        robot: a robot with one tip.
        spec: the data; the first of its cameras with a model is used.
        config: the policy's choices (`PolicyConfig.image_plane`, the encoder).

    Raises:
        ValueError: the robot has several tips, no camera has a model, or the encoder no feature map.
    """

    K: Tensor
    T_base_camera: Tensor
    height: Tensor
    center: Tensor
    axis: Tensor
    on_chain: Tensor

    def __init__(self, robot: Robot, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.choices, self.camera = config.image_plane, _camera_of(spec)
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
        self.camera_pose = nn.Parameter(torch.zeros(6)) if self.choices.refine_camera else None

    @torch.no_grad()
    def fit(self, poses: LinkPoses, goal_joints: Float[Tensor, "frames dof"]) -> None:
        """Take the plane's height, the middle of the goals and the heading's axis from demonstrations.

        Args:
            poses: the kinematics.
            goal_joints: measured joints at the frames' next gripper events [rad or m].
        """
        tips = self.tip(poses, goal_joints)
        self.height.copy_(tips[:, 2, 3].median())
        self.center.copy_(tips[:, :2, 3].mean(0))
        flattest = tips[:, 2, :3].abs().mean(0).argmin()
        self.axis.copy_(F.one_hot(flattest, 3))

    def tip(self, poses: LinkPoses, q_measured: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch 3 4"]:
        """T_base_tip at measured joints, residual applied."""
        q = poses.residual(q_measured)
        return far_end_poses(poses.robot, q, link_residual=poses.residual.link)[:, self.last_joint]

    def pose(self) -> Float[Tensor, "4 4"]:
        """T_base_camera, with the learned refinement where there is one."""
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
        """The goal of the motion.

        Args:
            maps: the encoder's feature map.
            image: the newest frame.
            state: the newest standardised state.
        """
        phase, pose = state[:, self.phase_dims], self.pose()
        rectified = F.relu(maps.to(state.dtype))
        logits = self.heatmap(rectified, phase)
        coarse = back_project(self.K, pose, expected_pixel(logits, *self.size), self.height)
        middle = coarse.detach() if self.choices.labels else coarse
        pixels = project(self.K, pose, self._rings(middle))
        seen = self.seen(rectified)
        colours = image.permute(0, 3, 1, 2).to(seen.dtype) * (1 / 127.5) - 1
        patch = torch.cat([sample_pixels(part, pixels, *self.size) for part in (seen, colours)], 1)
        profile, shift = self.profile(patch, phase)
        return Goal(logits, coarse, middle + SHIFT_SCALE * shift, profile, expected_heading(profile))

    def _rings(self, middle: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch rings angles 3"]:
        """Points of the polar patch on the plane."""
        radii = middle.new_tensor(RINGS)[:, None]
        cos, sin = circle(ANGLES, middle)
        around = torch.stack([radii * cos, radii * sin, torch.zeros_like(radii * cos)], -1)
        center = torch.cat([middle, self.height.expand(len(middle), 1)], -1)
        return center[:, None, None] + around

    def losses(self, goal: Goal, tip: Float[Tensor, "batch 3 4"]) -> dict[str, Float[Tensor, ""]]:
        """What hindsight says against the estimate: cross-entropies of pixel and heading, error of the place.

        Args:
            goal: `estimate`.
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

    def observe(self, goal: Goal, tip: Float[Tensor, "batch 3 4"]) -> Float[Tensor, "batch features"]:
        """The goal, and the way to it from the measured tip, coarse and fine; `shown` reads the goal out of it."""
        place, heading = goal.position, goal.heading
        if self.choices.labels:
            place, heading = place.detach(), heading.detach()
        way = place - tip[:, :2, 3]
        axis = tip[:, :2, :3] @ self.axis
        turn = torch.stack([_dot(axis, heading), axis[:, 0] * heading[:, 1] - axis[:, 1] * heading[:, 0]], -1)
        fine = [torch.tanh(way / FINE_POSITION), torch.tanh(turn[:, 1:] / FINE_HEADING)]
        coarse = [(place - self.center) / GOAL_SCALE, heading, way / GOAL_SCALE, turn]
        height = (tip[:, 2:, 3] - self.height) / GOAL_SCALE
        return torch.cat([*coarse, *fine, height], -1)

    def shown(self, context: Float[Tensor, "batch context"]) -> tuple[Tensor, Tensor]:
        """Place (batch, 2) [m] and heading (batch, 2) of the goal, out of a context that ends with `observe`."""
        goal = context[:, -OBSERVED_FEATURES:][:, :GOAL_FEATURES]
        return goal[:, :2] * GOAL_SCALE + self.center, goal[:, 2:]

    def reach(
        self, ends: Float[Tensor, "batch dof 3 4"]
    ) -> tuple[Float[Tensor, "batch dof 3 1"], Float[Tensor, "batch dof 3 1"]]:
        """The tip and its heading's axis in the frame of each joint's far end, from `far_end_poses`."""
        T_end_tip = compose(inverse_pose(ends), ends[:, self.last_joint, None])
        return T_end_tip[..., 3:], T_end_tip[..., :3] @ self.axis[:, None]

    def arcs(self, arcs: JointArcs, point: Tensor, axis: Tensor, goal: tuple[Tensor, Tensor]) -> FeatureArcs:
        """Tip features, as functions of one joint each, of a tip that is carried rigidly by the joint's link.

        They are the tip's place against the goal's and its heading in the goal's, all linear in (cos, sin) of the
        joint.

        Args:
            arcs: of the joints' far ends (batch, ..., 3, 4).
            point, axis: of `reach`, for these joints.
            goal: place and heading (batch, 2).
        """
        place, heading = (value[:, None] if point.ndim == 4 else value for value in goal)
        parts = [arcs.constant, arcs.cos, arcs.sin, *([arcs.slope] if arcs.any_prismatic else [])]
        stacked = torch.stack(parts)
        position = (stacked[..., :3] @ point + stacked[..., 3:])[..., 0]
        flat = (stacked[..., :2, :3] @ axis)[..., 0]
        turn = torch.stack(
            [_dot(flat, heading), flat[..., 1] * heading[..., 0] - flat[..., 0] * heading[..., 1]], -1
        )
        features = torch.cat([position / ERROR_SCALE, turn], -1)
        at_goal = torch.cat([place, self.height.expand(*place.shape[:-1], 1)], -1) / ERROR_SCALE
        facing = torch.tensor([1.0, 0.0], dtype=place.dtype, device=place.device).expand_as(place)
        origin = torch.cat([at_goal, facing], -1)
        constant, cos, sin, *slope = (LINK_GAIN * features).unbind(0)
        return FeatureArcs(constant - LINK_GAIN * origin, cos, sin, slope[0] if slope else None)

    def extended(
        self, terms: LinkTerms, poses: LinkPoses, context: Tensor, joints: Tensor, targets: Tensor
    ) -> LinkTerms:
        """Link terms with the tip features of every joint behind those of its own link.

        Args:
            terms, poses: the kinematics' own.
            context: the observation's features, `observe` last.
            joints: measured joints [rad or m].
            targets: commanded joints, as in `LinkPoses.terms`.
        """
        link = poses.residual.link
        q, target = poses.residual(torch.cat([joints, targets])).chunk(2)
        point, axis = self.reach(far_end_poses(poses.robot, q, link_residual=link))
        arcs = self.arcs(
            joint_arcs(poses.robot, target, link_residual=link), point, axis, self.shown(context)
        )
        (still, turns), mask = arcs.around(q), self.on_chain
        return LinkTerms(
            q=terms.q,
            base=torch.cat([terms.base, mask * still], -1),
            slopes=torch.cat([terms.slopes, mask[:, None] * turns], -1),
            prefix=torch.cat([terms.prefix, mask * arcs.at(target)], -1),
            observed=terms.observed,
        )


class TipWalk(LinkWalk):
    """`ImagePlane.extended` for a search that commits one joint after another.

    Args:
        plane: the image plane.
        poses: the kinematics.
        q_measured: measured joints [rad or m].
        context: the observation's features, `ImagePlane.observe` last.
    """

    def __init__(self, plane: ImagePlane, poses: LinkPoses, q_measured: Tensor, context: Tensor) -> None:
        super().__init__(poses, q_measured)
        self.plane, self.goal = plane, plane.shown(context)
        ends = far_end_poses(poses.robot, self.q, link_residual=poses.residual.link)
        self.point, self.axis = plane.reach(ends)

    def terms(self, j: int) -> tuple[Float[Tensor, "rows seen"], Float[Tensor, "rows 2 seen"]]:
        base, slopes = super().terms(j)
        (still, turns), mask = self._goal_arcs(j).around(self.q[:, j]), self.plane.on_chain[j]
        return torch.cat([base, mask * still], -1), torch.cat([slopes, mask * turns], -1)

    def commit(self, j: int, q_j: Float[Tensor, "rows"]) -> Float[Tensor, "rows seen"]:
        tip = self.plane.on_chain[j] * self._goal_arcs(j).at(q_j)
        return torch.cat([super().commit(j, q_j), tip], -1)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        super().keep(rows)
        self.goal = (self.goal[0][rows], self.goal[1][rows])
        self.point, self.axis = self.point[rows], self.axis[rows]

    def _goal_arcs(self, j: int) -> FeatureArcs:
        return self.plane.arcs(self.prefix.arc(j), self.point[:, j], self.axis[:, j], self.goal)


def _camera_of(spec: DataSpec) -> str:
    if not spec.cameras:
        raise ValueError(
            f"the image plane needs a camera's model, and of the cameras {list(spec.camera_names)} none has one: "
            "collect the data again, or give the camera (--camera NAME=camera.json)"
        )
    return next(iter(spec.cameras))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
