"""Sequential forward kinematics, for policies that choose one joint after another (autoregressive decoding).

Such a policy needs the child-frame pose (`ikp.kinematics._arcs`) of joint j for many candidate positions of that joint.
The pose is linear in the cosine and sine of the joint, so once the joints before it are known, a candidate costs one
multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikp.kinematics._arcs import ArcConstants, JointArcs, arc_constants, as_arcs, nominal_arc_constants, place
from ikp.kinematics.forward import joint_positions, link_columns, residual_origins
from ikp.kinematics.robot import Robot


def far_end_poses(
    robot: Robot,
    q: Float[Tensor, "... dof"],
    *,
    q_offset: Float[Tensor, "... dof"] | None = None,
    link_residual: Float[Tensor, "link 6"] | None = None,
) -> Float[Tensor, "... dof 3 4"]:
    """Child-frame pose T_base_farend of every joint; arguments as in forward_kinematics.

    Returns:
        The upper rows (..., dof, 3, 4) of the poses, with the configurations innermost in memory.

    Raises:
        ValueError: the shape or dtype of an input does not fit the robot.
    """
    theta = joint_positions(robot, q, q_offset)
    columns = link_columns(robot, theta, link_residual=link_residual)
    ends = _constants(robot, theta, link_residual).ends
    return place(columns[list(robot.joint_links), :, :3], ends[None], theta.shape[:-1])[0]


def joint_arcs(
    robot: Robot, q: Float[Tensor, "... dof"], *, link_residual: Float[Tensor, "link 6"] | None = None
) -> JointArcs:
    """The arc of every joint with the joints before it at `q`, as tensors (..., dof, 3, 4); differentiable.

    `q` and the positions given to :meth:`JointArcs.at` are true joint positions: add any offset first. The arc of a
    joint moves only its own link, not a link that mimics it. In a tree, only the joints of its own chain precede a
    joint.

    Raises:
        ValueError: the shape or dtype of an input does not fit the robot.
    """
    columns = link_columns(robot, joint_positions(robot, q), link_residual=link_residual)
    parents = columns[[robot.parents[link] for link in robot.joint_links], :, :3]
    return as_arcs(robot, place(parents, _constants(robot, q, link_residual).arcs, q.shape[:-1]))


def _constants(robot: Robot, like: Tensor, link_residual: Tensor | None) -> ArcConstants:
    if link_residual is None:
        return nominal_arc_constants(robot, like.dtype, like.device)
    return arc_constants(robot, residual_origins(robot, link_residual.to(like)))


class PrefixPose:
    """Arcs during inference: commit the joints from base to tip and get the arc of the next one.

    Args:
        robot: the robot.
        batch_shape: shape of the positions of one joint.
        dtype: float32 or float64.
        device: device of the positions.
        link_residual: (link, 6) as in forward_kinematics.
    """

    def __init__(
        self,
        robot: Robot,
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        link_residual: Float[Tensor, "link 6"] | None = None,
    ) -> None:
        self.robot = robot
        self.batch_shape = tuple(batch_shape)
        self._constants = _constants(robot, torch.empty(0, dtype=dtype, device=device), link_residual)
        self._theta: dict[int, Tensor] = {}  # joint: (n,)
        self._poses: dict[int, Tensor] = {}  # link: columns (4, 3, n)
        self._placed: dict[int, Tensor] = {}  # joint: its `both` constants in the base, (4, *batch, 2, 3, 4)
        self._advance()

    def arc(self, j: int) -> JointArcs:
        """The arc of joint j, tensors (*batch, 3, 4).

        Raises:
            ValueError: a joint before j in its chain is not committed yet.
        """
        parent = self.robot.parents[self.robot.joint_links[j]]
        if parent not in self._poses:
            names = self.robot.joint_names
            raise ValueError(
                f"the arc of joint {names[j]!r} needs every joint before it; committed so far: "
                f"{', '.join(names[i] for i in sorted(self._theta)) or 'none'}"
            )
        return as_arcs(self.robot, self._place(j, self._poses[parent])[..., 1, :, :])

    def commit(self, j: int, theta: Float[Tensor, "*batch"]) -> None:
        """Fix joint j at `theta` (*batch), rad or m; a joint may be committed again. ValueError for a wrong shape."""
        if theta.shape != self.batch_shape:
            raise ValueError(
                f"theta has the shape {tuple(theta.shape)}; this prefix is for {self.batch_shape}"
            )
        if j in self._theta:
            self._poses.clear()
            self._placed.clear()
        self._theta[j] = theta.reshape(-1)
        self._advance()

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Select entries of the first batch dimension, as a beam search does; an index may repeat."""
        count = math.prod(self.batch_shape)
        kept = torch.arange(count, device=rows.device).reshape(self.batch_shape)[rows]
        self.batch_shape = tuple(kept.shape)
        self._theta = {j: theta[kept.flatten()] for j, theta in self._theta.items()}
        self._poses = {i: columns[..., kept.flatten()] for i, columns in self._poses.items()}
        self._placed.clear()

    def _advance(self) -> None:
        """Compute the pose of every link whose joints are all committed."""
        for i, (parent, dof) in enumerate(zip(self.robot.parents, self.robot.link_dofs, strict=True)):
            ready = (parent < 0 or parent in self._poses) and (dof < 0 or dof in self._theta)
            if ready and i not in self._poses:
                self._poses[i] = self._link_columns(i, parent, dof)

    def _link_columns(self, i: int, parent: int, dof: int) -> Tensor:
        n = math.prod(self.batch_shape)
        frame = self._constants.base.expand(4, 3, n) if parent < 0 else self._poses[parent]
        joint = self.robot.links[i].joint
        if joint is None:
            return place(frame[None], self._constants.link_frames[:1, i : i + 1], (n,))[0, :, 0].permute(
                2, 1, 0
            )
        theta = self._theta[dof]
        if joint.mimic is None:
            parts = self._place(dof, frame)[..., 0, :, :].reshape(4, n, 3, 4)
        else:
            theta = joint.mimic.multiplier * theta + joint.mimic.offset
            parts = place(frame[None], self._constants.link_frames[:, i : i + 1], (n,))[:, :, 0]
        return as_arcs(self.robot, parts).at(theta).permute(2, 1, 0)

    def _place(self, j: int, parent: Tensor) -> Tensor:
        """Own frame and child frame of joint j as parts (4, *batch, 2, 3, 4) in the base frame."""
        if j not in self._placed:
            self._placed[j] = place(
                parent.expand(2, -1, -1, -1), self._constants.both[:, j], self.batch_shape
            )
        return self._placed[j]
