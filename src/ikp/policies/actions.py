"""Action variables: the continuous numbers a policy chooses, and how they become the robot's command.

`JointTargets` are joint positions, `TipPoses` poses executed through inverse kinematics, `RawActions` the
action vector itself. Discrete dimensions (a gripper) are handled by the policy beside them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.kinematics import Robot, forward_kinematics, inverse_kinematics
from ikp.kinematics.rotations import exp_rotation, log_rotation
from ikp.spec import DataSpec


class RawActions(nn.Module):
    """Takes the continuous action dimensions as they come."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.action_dims = [i for i in range(spec.action_dim) if i not in spec.discrete_dims]
        self.names = [spec.action_names[i] for i in self.action_dims]

    def encode(
        self, state: Float[Tensor, "batch state"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch dims"]:
        return action[:, self.action_dims]

    def decode(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch dims"]:
        return variables

    def motions(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch dims"]:
        """The variables themselves: their meaning is not known."""
        return variables

    def shift(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch dims"]:
        """Zero: the variables are no joint targets."""
        return state.new_zeros(len(state), len(self.names))


class JointTargets(nn.Module):
    """The variables are joint targets, absolute or as differences from the measured joints [rad or m].

    Args:
        spec: the data; `joint_dims` are the joints, and must be all continuous action dimensions.
        robot: checks the number of joints where there is a robot.
        delta: differences from the measured joints.
    """

    def __init__(self, spec: DataSpec, robot: Robot | None, *, delta: bool) -> None:
        super().__init__()
        check_joint_dims(spec, robot)
        self.action_dims = list(spec.joint_dims)
        self.names = [spec.action_names[i] for i in self.action_dims]
        self.delta = delta

    def encode(
        self, state: Float[Tensor, "batch state"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch dims"]:
        target = action[:, self.action_dims]
        return target - state[:, self.action_dims] if self.delta else target

    def decode(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch dims"]:
        return state[:, self.action_dims] + variables if self.delta else variables

    def motions(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch dims"]:
        """The variables as differences from the measured joints."""
        return variables if self.delta else variables - state[:, self.action_dims]

    def shift(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch dims"]:
        """The term that turns variables into joint targets: the measured joints for differences, else zero."""
        measured = state[:, self.action_dims]
        return measured if self.delta else torch.zeros_like(measured)


LARGEST_STEP = 1.5
"""Largest accepted joint step from inverse kinematics, as a multiple of speed limit x frame time. More than 1 since
the measured joints lag behind the commanded ones."""


class TipPoses(nn.Module):
    """The variables are the tips' target poses: position [m] and rotation vector [rad] in the base frame.

    Labels are nominal forward kinematics of the commanded joints; execution is nominal, generic inverse
    kinematics from the measured joints (paper, Sec. V-A). As differences: p_target - p_measured, and the
    rotation vector of R_target R_measured^T. Near a straight elbow a small step of the tips may be a large one of the
    joints: a step that some joint cannot do is shortened as a whole.

    Args:
        spec: the data; `joint_dims` are the joints.
        robot: nominal kinematics.
        delta: differences from the measured pose.
    """

    def __init__(self, spec: DataSpec, robot: Robot, *, delta: bool) -> None:
        super().__init__()
        check_joint_dims(spec, robot)
        self.action_dims = list(spec.joint_dims)
        self.robot, self.delta = robot, delta
        self.largest_step = (LARGEST_STEP / spec.fps) * robot.velocity  # infinite where the limit is unknown
        self.names = [
            f"{tip}.{axis}" for tip in robot.tip_names for axis in ("x", "y", "z", "rx", "ry", "rz")
        ]

    def encode(
        self, state: Float[Tensor, "batch state"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch dims"]:
        target = self.poses(action[:, self.action_dims])
        p, R = target[..., :3, 3], target[..., :3, :3]
        if self.delta:
            return self._from_measured(state, p, R)
        return torch.cat([p, log_rotation(R)], -1).flatten(1)

    def decode(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch joints"]:
        q = state[:, self.action_dims]
        vectors = variables.reshape(len(q), -1, 6)
        p, R = vectors[..., :3], exp_rotation(vectors[..., 3:])
        if self.delta:
            measured = self.poses(q)
            p = p + measured[..., :3, 3]
            R = R @ measured[..., :3, :3]
        T = torch.eye(4, dtype=q.dtype, device=q.device).repeat(*p.shape[:-1], 1, 1)
        T[..., :3, :3], T[..., :3, 3] = R, p
        return q + self._shortened(inverse_kinematics(self.robot, T, q, iterations=20, restarts=0).q - q)

    def motions(
        self, state: Float[Tensor, "batch state"], variables: Float[Tensor, "batch dims"]
    ) -> Float[Tensor, "batch dims"]:
        """The variables as differences from the measured pose."""
        if self.delta:
            return variables
        vectors = variables.reshape(len(state), -1, 6)
        return self._from_measured(state, vectors[..., :3], exp_rotation(vectors[..., 3:]))

    def shift(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch dims"]:
        """Zero: the variables are no joint targets."""
        return state.new_zeros(len(state), len(self.names))

    def _from_measured(
        self, state: Tensor, p: Float[Tensor, "batch tips 3"], R: Float[Tensor, "batch tips 3 3"]
    ) -> Float[Tensor, "batch dims"]:
        measured = self.poses(state[:, self.action_dims])
        turn = R @ measured[..., :3, :3].transpose(-1, -2)
        return torch.cat([p - measured[..., :3, 3], log_rotation(turn)], -1).flatten(1)

    def _shortened(self, step: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch joints"]:
        excess = (step.abs() / self.largest_step.to(step)).amax(-1, keepdim=True)
        return step / excess.clamp_min(1.0)

    def poses(self, q: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch tips 4 4"]:
        """Nominal T_base_tip of every tip."""
        return forward_kinematics(self.robot, q)[..., list(self.robot.tip_indices), :, :]


def check_joint_dims(spec: DataSpec, robot: Robot | None) -> None:
    """Raise ValueError unless the data's joint dimensions fit the robot and the state holds them."""
    if not spec.joint_dims:
        raise ValueError("the data set names no joint dimensions: set joint_dims, or use action_space='raw'")
    if robot is not None and len(spec.joint_dims) != robot.dof:
        raise ValueError(
            f"robot {robot.name!r} has {robot.dof} joints and the data set {len(spec.joint_dims)} joint "
            f"dimensions {[spec.action_names[i] for i in spec.joint_dims]}: give the robot of these data"
        )
    if max(spec.joint_dims) >= spec.state_dim:
        raise ValueError(
            f"the measured joints must be the state's dimensions {spec.joint_dims}, but the state has "
            f"{spec.state_dim} dimensions {list(spec.state_names)}"
        )
    other = [
        spec.action_names[i]
        for i in range(spec.action_dim)
        if i not in spec.joint_dims and i not in spec.discrete_dims
    ]
    if other:
        raise ValueError(
            f"action dimensions {other} are neither joints nor discrete: declare them, or use action_space='raw'"
        )
