"""Action spaces: the encoded action, the continuous numbers that a policy chooses, and the command that it stands for.

`JointTargets` encodes an action as joint positions, `TipPoses` as end-effector poses that inverse kinematics executes,
`RawActions` as the action vector itself. The policy decides discrete dimensions (a gripper) separately.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.indices import as_slice
from ikp.joint_map.joints import LOAD_FOR_ROBOT, check_joint_names
from ikp.kinematics import Robot, forward_kinematics, inverse_kinematics
from ikp.kinematics.inverse import ROTATION_WEIGHT, IKSolution
from ikp.kinematics.rotations import exp_rotation, log_rotation
from ikp.policies.posture import Posture
from ikp.spec import DataSpec

State = Float[Tensor, "batch state"]
Action = Float[Tensor, "batch action"]
Encoded = Float[Tensor, "batch dims"]


class ActionSpace(nn.Module, ABC):
    """Encodes the continuous dimensions of an action.

    Attributes:
        action_dims: the dimensions of the action that it encodes.
        names: one name per dimension of the encoded action.
    """

    def __init__(self, action_dims: list[int] | slice, names: list[str]) -> None:
        super().__init__()
        self.action_dims, self.names = action_dims, names

    @property
    def step(self) -> ActionSpace:
        """The encoding of one way-point."""
        return self

    def fit(self, action: Action) -> None:
        """Learn what decoding needs from the demonstrated actions."""

    @abstractmethod
    def encode(self, state: State, action: Action) -> Encoded:
        """Encode a demonstrated action, given the measured state."""

    @abstractmethod
    def decode(
        self, state: State, encoded: Encoded, start: Float[Tensor, "batch continuous"] | None = None
    ) -> Float[Tensor, "batch continuous"]:
        """The continuous dimensions of the action, in the units of the demonstrations.

        Args:
            state: measured state, to which the encoded action is relative.
            encoded: encoded action.
            start: joints where the motion starts, if not at the measured ones; only inverse kinematics depends on it.
        """

    @abstractmethod
    def motions(self, state: State, encoded: Encoded) -> Encoded:
        """The encoded action as a difference from the measured joints or pose, where that is known."""

    def shift(self, state: State) -> Encoded:
        """The term that turns an encoded action into joint targets; zero where it encodes no joint targets."""
        return state.new_zeros(len(state), len(self.names))


class RawActions(ActionSpace):
    """Uses the continuous action dimensions unchanged."""

    def __init__(self, spec: DataSpec) -> None:
        action_dims = [i for i in range(spec.action_dim) if i not in spec.discrete_dims]
        super().__init__(as_slice(action_dims), [spec.action_names[i] for i in action_dims])

    def encode(self, state: State, action: Action) -> Encoded:
        return action[:, self.action_dims]

    def decode(self, state: State, encoded: Encoded, start: Encoded | None = None) -> Encoded:
        return encoded

    def motions(self, state: State, encoded: Encoded) -> Encoded:
        """The encoded action itself, because the meaning of its dimensions is unknown."""
        return encoded


class JointTargets(ActionSpace):
    """Encodes actions as joint targets, absolute or as differences from the measured joints [rad or m].

    Args:
        spec: the data; `joint_dims` must be all its continuous action dimensions.
        robot: the robot, to check the number of joints, and for differences of its continuous joints, which take the
            shorter way round.
        delta: encode differences from the measured joints.
    """

    def __init__(self, spec: DataSpec, robot: Robot | None, *, delta: bool) -> None:
        check_joint_dims(spec, robot)
        super().__init__(as_slice(spec.joint_dims), [spec.action_names[i] for i in spec.joint_dims])
        self.robot, self.delta = robot, delta

    def encode(self, state: State, action: Action) -> Encoded:
        target = action[:, self.action_dims]
        return self._from_measured(state, target) if self.delta else target

    def decode(self, state: State, encoded: Encoded, start: Encoded | None = None) -> Encoded:
        return state[:, self.action_dims] + encoded if self.delta else encoded

    def motions(self, state: State, encoded: Encoded) -> Encoded:
        return encoded if self.delta else self._from_measured(state, encoded)

    def shift(self, state: State) -> Encoded:
        measured = state[:, self.action_dims]
        return measured if self.delta else torch.zeros_like(measured)

    def _from_measured(self, state: State, target: Encoded) -> Encoded:
        difference = target - state[:, self.action_dims]
        return difference if self.robot is None else self.robot.shortest(difference)


LARGEST_STEP = 1.5
"""Largest accepted joint step from inverse kinematics, as a multiple of speed limit x frame time. More than 1 since
the measured joints lag behind the commanded ones."""


POSITION_FIRST = 0.03
"""Weight of rotations in the inverse kinematics of tips with fewer than six joints, which cannot reach every pose, and
would miss the point for the sake of the rotation [m per rad]."""


class TipPoses(ActionSpace):
    """Encodes actions as target poses of the tips: position [m] and rotation vector [rad] in the base frame.

    Labels are nominal forward kinematics of the commanded joints; execution is nominal, generic inverse
    kinematics (paper, Sec. V-A) from the measured joints, and for a redundant arm from the posture that the
    demonstrations have at the target. As differences: p_target - p_measured, and the rotation vector of
    R_target R_measured^T. Near a straight elbow a small step of the tips may need a large step of the joints: a step
    that exceeds the speed of some joint is shortened as a whole.

    Args:
        spec: the data; `joint_dims` must be all its continuous action dimensions.
        robot: nominal kinematics.
        delta: encode differences from the measured pose.
        seconds: time of a step.
    """

    def __init__(self, spec: DataSpec, robot: Robot, *, delta: bool, seconds: float) -> None:
        check_joint_dims(spec, robot)
        axes = ("x", "y", "z", "rx", "ry", "rz")
        super().__init__(
            as_slice(spec.joint_dims), [f"{tip}.{axis}" for tip in robot.tip_names for axis in axes]
        )
        self.robot, self.delta = robot, delta
        full = all(len(robot.joints_above(tip)) >= 6 for tip in robot.tip_indices)
        self.rotation_weight = ROTATION_WEIGHT if full else POSITION_FIRST
        self.largest_step = (LARGEST_STEP * seconds) * robot.velocity  # infinite where the limit is unknown
        self.posture = Posture(robot) if robot.dof > 6 * len(robot.tip_names) else None

    def fit(self, action: Action) -> None:
        if self.posture is not None:
            q = action[:, self.action_dims]
            self.posture.fit(self.poses(q), q)

    def encode(self, state: State, action: Action) -> Encoded:
        target = self.poses(action[:, self.action_dims])
        p, R = target[..., :3, 3], target[..., :3, :3]
        if self.delta:
            return self._from_measured(state, p, R)
        return torch.cat([p, log_rotation(R)], -1).flatten(1)

    def decode(
        self, state: State, encoded: Encoded, start: Float[Tensor, "batch joints"] | None = None
    ) -> Float[Tensor, "batch joints"]:
        q = state[:, self.action_dims]
        vectors = encoded.reshape(len(q), -1, 6)
        p, R = vectors[..., :3], exp_rotation(vectors[..., 3:])
        if self.delta:
            measured = self.poses(q)
            p = p + measured[..., :3, 3]
            R = R @ measured[..., :3, :3]
        T = torch.eye(4, dtype=q.dtype, device=q.device).repeat(*p.shape[:-1], 1, 1)
        T[..., :3, :3], T[..., :3, 3] = R, p
        q = q if start is None else start
        reached = self._inverse(T, q).q
        if self.posture is not None:
            usual = self._inverse(T, self.posture(T))
            reached = torch.where(usual.converged[:, None], usual.q, reached)
        return q + self._shortened(self.robot.shortest(reached - q))

    def _inverse(
        self, T: Float[Tensor, "batch tips 4 4"], start: Float[Tensor, "batch joints"]
    ) -> IKSolution:
        return inverse_kinematics(
            self.robot, T, start, iterations=20, restarts=0, rotation_weight=self.rotation_weight
        )

    def motions(self, state: State, encoded: Encoded) -> Encoded:
        if self.delta:
            return encoded
        vectors = encoded.reshape(len(state), -1, 6)
        return self._from_measured(state, vectors[..., :3], exp_rotation(vectors[..., 3:]))

    def _from_measured(
        self, state: State, p: Float[Tensor, "batch tips 3"], R: Float[Tensor, "batch tips 3 3"]
    ) -> Encoded:
        measured = self.poses(state[:, self.action_dims])
        turn = R @ measured[..., :3, :3].transpose(-1, -2)
        return torch.cat([p - measured[..., :3, 3], log_rotation(turn)], -1).flatten(1)

    def _shortened(self, step: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch joints"]:
        excess = (step.abs() / self.largest_step.to(step)).amax(-1, keepdim=True)
        return step / excess.clamp_min(1.0)

    def poses(self, q: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch tips 4 4"]:
        """Nominal T_base_tip of every tip."""
        return forward_kinematics(self.robot, q)[..., list(self.robot.tip_indices), :, :]


def make_action_space(
    robot: Robot | None, spec: DataSpec, action_space: str, *, delta: bool, seconds: float
) -> ActionSpace:
    """The encoding of one way-point that `PolicyConfig.action_space` names; a step to it takes `seconds`."""
    if action_space == "raw" or robot is None:
        return RawActions(spec)
    if action_space == "cartesian":
        return TipPoses(spec, robot, delta=delta, seconds=seconds)
    return JointTargets(spec, robot, delta=delta)


def check_joint_dims(spec: DataSpec, robot: Robot | None) -> None:
    """Raise ValueError unless the data's joint dimensions match the robot and the state contains them."""
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
    if robot is not None and spec.joint_map is not None and spec.joint_map.joints != robot.joint_names:
        raise ValueError(
            f"the data are converted for the joints {list(spec.joint_map.joints)}, robot {robot.name!r} has "
            f"{list(robot.joint_names)}: {LOAD_FOR_ROBOT}"
        )
    if robot is not None and spec.joint_map is None:
        check_joint_names(robot, spec.action_names, spec.state_names, spec.joint_dims)
    declared = {*spec.joint_dims, *spec.discrete_dims, *spec.extra_dims}
    other = [name for i, name in enumerate(spec.action_names) if i not in declared]
    if other:
        raise ValueError(
            f"action dimensions {other} are neither joints nor discrete: declare them, or use action_space='raw'"
        )
