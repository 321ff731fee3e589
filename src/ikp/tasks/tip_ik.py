"""Fast inverse kinematics of one tip for the scripted experts: Newton steps with MuJoCo's Jacobian."""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float

REST_PULL = 0.05  # fraction of the difference to the rest posture that one iteration removes


class TipSolver:
    """Solver for the joint positions that give a site a pose, from a nearby start; it has its own simulation data.

    Args:
        model: Compiled scene.
        site: Name of the site that has to reach the pose.
        joints: Names of the joints that may move; the others stay at the model's zero pose.
        damping: Least-squares damping [m^2], small enough for Newton steps to converge quickly.
        q_rest: (dof,) posture that redundant joints are drawn to [rad]; None leaves them where they are.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        site: str,
        joints: tuple[str, ...],
        damping: float = 1e-6,
        q_rest: Float[np.ndarray, "dof"] | None = None,
    ):
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site(site).id
        self._qpos = np.array([model.joint(name).qposadr[0] for name in joints])
        self._dofs = np.array([model.joint(name).dofadr[0] for name in joints])
        self._damping = damping * np.eye(6)
        self._q_rest = q_rest
        self._jacobian = np.zeros((6, model.nv))
        self._error = np.zeros(6)

    def solve(
        self,
        position: Float[np.ndarray, "3"],
        rotation: Float[np.ndarray, "3 3"],
        q_start: Float[np.ndarray, "dof"],
        iterations: int = 8,
    ) -> tuple[Float[np.ndarray, "dof"], float]:
        """Solve for joint positions (dof,) [rad] that bring the site to `position` (3,) [m] and `rotation` (3, 3).

        Returns the joints and the remaining error, the norm of the errors in metres and radians.
        """
        q = np.array(q_start, dtype=np.float64)
        for _ in range(iterations):
            if self._residual(q, position, rotation) < 1e-7:
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            J = self._jacobian[:, self._dofs]
            A = J @ J.T + self._damping
            step = J.T @ np.linalg.solve(A, self._error)
            if self._q_rest is not None:
                pull = REST_PULL * (self._q_rest - q)
                step += pull - J.T @ np.linalg.solve(A, J @ pull)
            q += np.clip(step, -0.5, 0.5)
        return q, self._residual(q, position, rotation)

    def pose(self, q: Float[np.ndarray, "dof"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
        """Position (3,) [m] and rotation (3, 3) of the site in the world at joint positions (dof,) [rad]."""
        self._data.qpos[self._qpos] = q
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def _residual(self, q: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> float:
        data = self._data
        data.qpos[self._qpos] = q
        mujoco.mj_kinematics(self._model, data)
        R = data.site_xmat[self._site].reshape(3, 3)
        self._error[:3] = position - data.site_xpos[self._site]
        # First-order rotation vector: half the sum of the axes' cross products.
        W = rotation @ R.T
        self._error[3:] = 0.5 * (W[2, 1] - W[1, 2]), 0.5 * (W[0, 2] - W[2, 0]), 0.5 * (W[1, 0] - W[0, 1])
        return float(np.sqrt(self._error @ self._error))
