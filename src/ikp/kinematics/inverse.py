"""Batched inverse kinematics for any number of tips: damped least squares within the joint limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import forward_ad

from ikp.kinematics._functional import transforms_active
from ikp.kinematics.forward import check_tensor, joint_positions, link_columns
from ikp.kinematics.jacobian import jacobian_columns
from ikp.kinematics.robot import LARGEST_ROBOT, Robot
from ikp.kinematics.rotations import cross, log_rotation, product

ROTATION_WEIGHT = 0.3
"""About the length of a hand, so that both parts of an error count alike [m per rad]."""

_DAMPING = 1e-6
_RIGID_TOLERANCE = 1e-3  # of a rotation's products: matrices that were written with four digits
_ROUNDINGS = (
    4  # rounding errors that forward kinematics adds up at the tip, as multiples of the size of its numbers
)
_LARGEST_STEP = 1.0  # rad or m


@dataclass(frozen=True, eq=False)
class IKSolution:
    """Joint positions within the limits, and the remaining error of the worst tip."""

    q: Float[Tensor, "... dof"]
    position_error: Float[Tensor, "..."]  # m
    rotation_error: Float[Tensor, "..."]  # rad
    converged: Bool[Tensor, "..."]


@torch.no_grad()
def inverse_kinematics(
    robot: Robot,
    T_base_tip: Float[Tensor, "... tips 4 4"],
    q_start: Float[Tensor, "... dof"],
    *,
    q_offset: Float[Tensor, "... dof"] | None = None,
    iterations: int = 50,
    restarts: int = 8,
    rotation_weight: float = ROTATION_WEIGHT,
    position_tolerance: float = 1e-5,
    rotation_tolerance: float = 1e-4,
    generator: torch.Generator | None = None,
) -> IKSolution:
    """Joint positions that bring every tip of `robot.tip_names` to its target.

    The method is Levenberg-Marquardt with a damping proportional to the error (Sugihara 2011, "Solvability-unconcerned
    inverse kinematics by the Levenberg-Marquardt method"), which is fast near a solution and stable far from one. A
    joint that would leave its limits stays on them. Targets that do not converge from `q_start` are tried again from
    random positions in one batch; the solution nearest to `q_start` is returned, or the smallest error if none
    converges.

    Args:
        T_base_tip: targets (..., tips, 4, 4), in the order of the robot's tips.
        q_start: (..., dof) start of the iteration, clamped to the limits.
        q_offset: (..., dof) q_true - q_measured: the result is measured positions, and ``q + q_offset`` reaches the
            targets. The limits hold for `q`.
        iterations: steps per start.
        restarts: random starts for each target that fails.
        rotation_weight: how much a rotation error counts beside a position error [m per rad]. 0 asks for the positions
            alone, as arms with fewer than six joints need: the targets' rotations are ignored, also by `converged`. A
            small weight, such as 0.01, gives the positions priority.
        position_tolerance: largest position error of the worst tip [m]; never less than what the dtype of `q_start`
            can hold at the size of the robot and the distance of the target.
        rotation_tolerance: largest rotation error of the worst tip [rad].
        generator: draws the random starts, on the CPU; seeded with 0 by default.

    Raises:
        ValueError: a target is not finite or no rigid transform, a shape does not fit, the weight is negative, or an
            input carries forward-mode derivatives, which the result would not have.
    """
    _check(robot, T_base_tip, q_start, q_offset, rotation_weight)
    lead = q_start.shape[:-1]
    tolerance = (position_tolerance, rotation_tolerance if rotation_weight > 0 else math.inf)
    problem = _Problem(robot, T_base_tip, q_start, q_offset, tolerance, rotation_weight)
    start = problem.clamp(q_start.reshape(-1, robot.dof))
    everything = torch.arange(len(start), device=start.device)
    q, errors = problem.descend(start, everything, iterations)
    failed = (~problem.within(errors, everything)).nonzero()[:, 0]
    if restarts > 0 and len(failed):
        q[failed], errors[failed] = _restart(
            problem, start, q, errors, failed, restarts, iterations, generator
        )
    converged = problem.within(errors, everything)
    return IKSolution(
        q.reshape(*lead, -1), errors[:, 0].reshape(lead), errors[:, 1].reshape(lead), converged.reshape(lead)
    )


def _restart(
    problem: _Problem,
    start: Tensor,
    q: Tensor,
    errors: Tensor,
    failed: Tensor,
    restarts: int,
    iterations: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Best positions and errors of the failed targets, among their first results and random starts."""
    generator = generator or torch.Generator().manual_seed(0)
    random = problem.robot.random_q((len(failed), restarts), generator=generator).to(q).flatten(0, 1)
    again, again_errors = problem.descend(random, failed.repeat_interleave(restarts), iterations)
    again = problem.unwind(again.unflatten(0, (-1, restarts)), start[failed, None])
    q_all = torch.cat([q[failed, None], again], dim=1)
    errors_all = torch.cat([errors[failed, None], again_errors.unflatten(0, (-1, restarts))], dim=1)
    distance = (q_all - start[failed, None]).norm(dim=-1)
    # failures rank behind all solutions: 1e6 exceeds any distance between joint positions
    rank = torch.where(
        problem.within(errors_all, failed[:, None]), distance, 1e6 * (1 + problem.cost(errors_all))
    )
    best = rank.argmin(1)
    rows = torch.arange(len(failed), device=q.device)
    return q_all[rows, best], errors_all[rows, best]


class _Problem:
    """The flattened targets of a batch, and the descent towards them."""

    def __init__(
        self,
        robot: Robot,
        T: Tensor,
        q_start: Tensor,
        q_offset: Tensor | None,
        tolerance: tuple[float, float],
        rotation_weight: float,
    ) -> None:
        self.robot = robot
        # a robot in millimetres is solved as the same robot in metres
        self.unit = 1.0 if robot.reach < LARGEST_ROBOT else robot.reach
        self.rotation_weight = rotation_weight * self.unit
        # (tip, 3, 4, n), the struct of arrays of forward kinematics
        self.target = T.to(q_start).reshape(-1, *T.shape[-3:])[..., :3, :].permute(1, 2, 3, 0).contiguous()
        offset = torch.zeros_like(q_start) if q_offset is None else q_offset.to(q_start).expand_as(q_start)
        self.offset = offset.reshape(-1, robot.dof)
        self.lower, self.upper = robot.lower.to(q_start), robot.upper.to(q_start)
        self.tolerance = q_start.new_tensor(
            [tolerance]
        )  # (1, 2), or (n, 2) where the dtype holds less for some
        size = robot.reach + self.target[:, :, 3].norm(dim=1).amax(0)
        floor = _ROUNDINGS * torch.finfo(q_start.dtype).eps * size
        if (floor > tolerance[0]).any():
            position = floor.clamp_min(tolerance[0])
            self.tolerance = torch.stack([position, torch.full_like(position, tolerance[1])], -1)
        revolute = torch.tensor([kind != "prismatic" for kind in robot.joint_types])
        self.largest_step = torch.where(revolute, _LARGEST_STEP, _LARGEST_STEP * self.unit).to(q_start)
        self.turn = torch.where(revolute, 2 * math.pi, math.inf).to(q_start)

    def descend(self, q: Tensor, which: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Best positions (n, dof) and errors (n, 2) from starts `q` for the targets `which` (n,)."""
        q = q.clone()
        best_q, best = q.clone(), torch.full((len(q), 2), math.inf, dtype=q.dtype, device=q.device)
        active = torch.arange(len(q), device=q.device)
        for iteration in range(iterations + 1):
            columns = link_columns(self.robot, q[active] + self.offset[which[active]])
            residual, errors = self._residual(columns, which[active])
            better = self.cost(errors) < self.cost(best[active])
            improved = active[better]
            best[improved], best_q[improved] = errors[better], q[improved]
            unfinished = ~self.within(errors, which[active])
            active = active[unfinished]
            if not len(active) or iteration == iterations:
                break
            J = jacobian_columns(self.robot, columns[..., unfinished], self.robot.tip_indices)
            q[active] = self._step(q[active], J, residual[..., unfinished])
        return best_q, best

    def _residual(self, columns: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Position error [m] and weighted rotation error (tip, 6, n), and the worst tip's errors (n, 2)."""
        tips = columns[list(self.robot.tip_indices), :, :3]
        target = self.target[..., which]
        position = target[:, :, 3] - tips[:, 3]
        # R_target @ R^T; the columns of R^T are the rows of R
        R_error = (target[:, :, None, :3] * tips[:, None, :3].transpose(2, 3)).sum(3)
        rotation = log_rotation(R_error.movedim(-1, 1)).movedim(1, -1)
        errors = torch.stack([part.norm(dim=1).amax(0) for part in (position, rotation)], dim=-1)
        return torch.cat([position, self.rotation_weight * rotation], dim=1), errors

    def _step(self, q: Tensor, J: Tensor, residual: Tensor) -> Tensor:
        """One damped step (n, dof); a joint on its limit stays there if the step would push it out."""
        J = torch.cat([J[:, :3], self.rotation_weight * J[:, 3:]], dim=1)
        J = J.flatten(0, 1).movedim(-1, 0)  # (n, 6 tips, dof)
        e = residual.flatten(0, 1).movedim(-1, 0)[..., None]
        pull = product(J.mT, e)[..., 0]
        held = ((q <= self.lower) & (pull < 0)) | ((q >= self.upper) & (pull > 0))
        J = J.masked_fill(held[:, None], 0.0)
        damping = 0.5 * (e * e).sum((1, 2)) + _DAMPING * self.unit**2
        H = product(J.mT, J) + damping[:, None, None] * torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
        step = torch.linalg.solve_ex(H, product(J.mT, e))[0][..., 0]
        step = step / (step.abs() / self.largest_step).amax(-1, keepdim=True).clamp_min(1.0)
        return self.clamp(q + step)

    def clamp(self, q: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(q, self.lower), self.upper)

    def within(self, errors: Tensor, which: Tensor) -> Tensor:
        tolerance = self.tolerance if len(self.tolerance) == 1 else self.tolerance[which]
        return (errors <= tolerance).all(-1)

    def cost(self, errors: Tensor) -> Tensor:
        if self.rotation_weight == 0:
            return errors[..., 0]
        return errors[..., 0] + self.rotation_weight * errors[..., 1]

    def unwind(self, q: Tensor, near: Tensor) -> Tensor:
        """The same pose with every revolute joint within half a turn of `near`, where the limits allow it."""
        turn = torch.where(self.turn.isinf(), 0.0, self.turn)
        turned = q - torch.round((q - near) / self.turn).nan_to_num() * turn
        return torch.where((turned >= self.lower) & (turned <= self.upper), turned, q)


def _check(robot: Robot, T: Tensor, q_start: Tensor, q_offset: Tensor | None, rotation_weight: float) -> None:
    joint_positions(robot, q_start, q_offset)
    check_tensor("T_base_tip", T)
    if not 0 <= rotation_weight < math.inf:
        raise ValueError(
            f"rotation_weight is {rotation_weight}; it must be 0 or a positive number of m per rad"
        )
    tips = len(robot.tip_names)
    if T.ndim < 3 or T.shape[-3:] != (tips, 4, 4) or T.shape[:-3] != q_start.shape[:-1]:
        raise ValueError(
            f"T_base_tip has the shape {tuple(T.shape)} and q_start {tuple(q_start.shape)}; needed are "
            f"(..., {tips}, 4, 4) for the tips {', '.join(robot.tip_names)} and (..., {robot.dof}), with the "
            "same leading dimensions"
        )
    given = {"T_base_tip": T, "q_start": q_start} | ({} if q_offset is None else {"q_offset": q_offset})
    for name, value in given.items():
        if transforms_active() and forward_ad.unpack_dual(value).tangent is not None:
            raise ValueError(
                f"{name} carries forward-mode derivatives, which inverse kinematics has not; detach it"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} contains NaN or infinity; inverse kinematics needs finite numbers")
    R = T[..., :3, :3]
    off = (product(R, R.mT) - torch.eye(3, dtype=R.dtype, device=R.device)).abs().amax((-2, -1))
    bottom = (T[..., 3, :] - T.new_tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(-1)
    # the third axis of a rotation is the product of the others, that of a mirror its opposite
    mirrored = (cross(R[..., 0], R[..., 1]) * R[..., 2]).sum(-1) < 0
    faulty = ((off > _RIGID_TOLERANCE) | (bottom > _RIGID_TOLERANCE) | mirrored).nonzero()
    if len(faulty):
        index = tuple(faulty[0].tolist())
        raise ValueError(
            f"T_base_tip{list(index)} is {T[index].tolist()}: a target must be a rigid transform, a rotation matrix "
            "and a position over 0 0 0 1"
        )
