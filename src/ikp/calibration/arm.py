"""`ArmModel`: the parameters of an arm as one vector, and link poses with their derivatives in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from ikp.calibration import _so3
from ikp.calibration.joint_terms import TERMS, basis, joint_coefficients
from ikp.kinematics import Robot
from ikp.kinematics.forward import link_columns
from ikp.kinematics.jacobian import jacobian_columns

LINKS = "links"
"""The term of small corrections of the fixed transform before every joint."""
LINK_PARTS = ("x", "y", "z", "turn x", "turn y", "turn z")
LINK_SIGMA = (*(3 * [2e-3]), *(3 * [math.radians(0.5)]))
"""Prior standard deviations of a link's correction: 2 mm and half a degree."""


class ArmModel:
    """A robot whose joints and links are slightly off, described by one vector of parameters that starts at zero.

    The joints become q + Phi(q) beta (see `joint_terms`), the fixed transform before a joint
    ``T_parent_joint @ [exp(r[3:]) | r[:3]]`` (the `link_residual` of forward_kinematics).

    Attributes:
        robot: the nominal robot.
        names: (joint, name) of every parameter.
        sigma: (size,) prior standard deviations around zero [rad, m, or without a unit].

    Args:
        robot: the nominal robot.
        terms: any of offset, scale, drift and links; none for an arm that is taken as it is.

    Raises:
        ValueError: a term is unknown.
    """

    def __init__(self, robot: Robot, terms: Sequence[str] = ("offset",)) -> None:
        unknown = [term for term in terms if term not in (*TERMS, LINKS)]
        if unknown:
            raise ValueError(
                f"the terms to estimate are {list(terms)}: choose any of {', '.join((*TERMS, LINKS))}"
            )
        self.robot = robot
        self.terms = tuple(terms)
        self.coefficients = joint_coefficients(robot, [term for term in terms if term != LINKS])
        self.moved = robot.joint_links if LINKS in terms else ()
        names = [(one.joint, one.name) for one in self.coefficients]
        sigma = [one.sigma for one in self.coefficients]
        for joint in robot.joint_names if self.moved else ():
            names += [(joint, part) for part in LINK_PARTS]
            sigma += LINK_SIGMA
        self.names = tuple(names)
        self.sigma = np.array(sigma)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.names)

    @cached_property
    def _dofs(self) -> np.ndarray:
        return np.array([one.index for one in self.coefficients], dtype=int)

    def joints(
        self, q: Float[np.ndarray, "n dof"], beta: Float[np.ndarray, "size"]
    ) -> Float[np.ndarray, "n dof"]:
        """Corrected joint positions (n, dof) [rad or m]."""
        theta = q.copy()
        np.add.at(theta.T, self._dofs, (basis(self.coefficients, q) * beta[: len(self.coefficients)]).T)
        return theta

    def link_residual(self, beta: Float[np.ndarray, "size"]) -> Float[np.ndarray, "link 6"]:
        """Corrections of all links, as forward_kinematics takes them [m, rad]."""
        residual = np.zeros((len(self.robot.links), 6))
        if self.moved:
            residual[list(self.moved)] = beta[len(self.coefficients) :].reshape(-1, 6)
        return residual

    def poses(
        self, q: Float[np.ndarray, "n dof"], beta: Float[np.ndarray, "size"], link: str
    ) -> tuple[Float[np.ndarray, "n 4 4"], Float[np.ndarray, "n 6 size"], Float[np.ndarray, "n 6 dof"]]:
        """Poses of a link in the base frame, and its motion per change of the parameters and of the joints.

        Args:
            q: uncorrected joint positions [rad or m].
            beta: the parameters.
            link: name of the link.

        Returns:
            T_base_link, and the derivatives of the motion: velocity of the link's origin, then angular velocity, both
            in the base frame.
        """
        robot, chosen = self.robot, self.robot.link_index(link)
        theta = torch.from_numpy(self.joints(q, beta))
        residual = self.link_residual(beta)
        with torch.no_grad():
            columns = link_columns(
                robot, theta, link_residual=torch.from_numpy(residual) if self.moved else None
            )
            motion = jacobian_columns(robot, columns, (chosen,))[0].permute(2, 0, 1).numpy()
        frames = columns.permute(0, 3, 2, 1).numpy()
        by_joint = motion[:, :, self._dofs] * basis(self.coefficients, q)[:, None, :]
        by_link = [self._by_link(frames, residual, moved, chosen) for moved in self.moved]
        return frames[chosen], np.concatenate([by_joint, *by_link], axis=-1), motion

    def _by_link(self, frames: np.ndarray, residual: np.ndarray, moved: int, chosen: int) -> np.ndarray:
        """Motion (n, 6, 6) of the chosen link per change of the correction of one link."""
        made = np.zeros((frames.shape[1], 6, 6))
        if not self.robot.descends(chosen, moved):
            return made
        link = self.robot.links[moved]
        nominal = frames[link.parent] @ link.T_parent_joint.numpy()
        R, shift = nominal[:, :3, :3], residual[moved, :3]
        center = nominal[:, :3, 3] + R @ shift
        turn = R @ _so3.left_jacobian(residual[moved, 3:])
        made[:, :3, :3] = R
        made[:, 3:, 3:] = turn
        made[:, :3, 3:] = -_so3.skew(frames[chosen][:, :3, 3] - center) @ turn
        return made
