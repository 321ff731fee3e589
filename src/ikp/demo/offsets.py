"""Learned against true joint offsets, and which offsets the demonstrations determine at all.

An offset is identifiable when no unknown that is fixed for the robot (where its base stands, how its tool is
mounted) and no combination of the other offsets changes the tool's pose in the same way over the demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.data import Demonstrations
from ikp.kinematics import Robot, forward_kinematics, jacobian
from ikp.policies import Policy

LEVER = 0.1
"""Lever [m] that turns rotations into displacements: about the length of the tool."""
SCENARIOS = {
    "both known": (),
    "base unknown": ("base",),
    "tool unknown": ("tool",),
    "both unknown": ("base", "tool"),
}
"""Placements that are unknown and estimated together with the offsets."""
MOST_FRAMES = 2000
IDENTIFIABLE = 0.05
"""A direction of offsets counts as identifiable when a degree along it leaves at least this much [mm]."""


def compare_offsets(policy: Policy, dataset: Demonstrations, q_offset: Sequence[float]) -> dict[str, Any]:
    """Compare learned and true joint offsets, for the report.

    Args:
        policy: a trained policy with a robot.
        dataset: the demonstrations it was trained on; their measured joints are used.
        q_offset: the true offsets, q_true - q_measured [rad].

    Returns:
        Per joint [deg] `true`, `learned` (None without a residual on the joints) and `from_constraints`;
        `learned_vs_true` and `constraints_vs_true` (see `agreement`); `remaining_mm` per scenario and joint (see
        `remaining_effect`); `directions`, the number of offset combinations that the constraints determine, and
        `along_directions`, root mean squares over these alone: the true offsets and the errors of both estimates.
    """
    assert policy.robot is not None
    joints = list(policy.spec.joint_dims)
    q = dataset.state[:, joints][torch.linspace(0, len(dataset) - 1, min(MOST_FRAMES, len(dataset))).long()]
    true = torch.tensor(q_offset).double().rad2deg()
    learned = learned_correction(policy, q)
    solved, directions = offsets_from_constraints(policy.robot, q.double(), grasp_joints(dataset).double())
    solved = solved.rad2deg()
    result: dict[str, Any] = {
        "joints": list(policy.robot.joint_names),
        "true": true.tolist(),
        "learned": None,
        "from_constraints": solved.tolist(),
        "constraints_vs_true": agreement(solved, true),
        "directions": len(directions),
        "along_directions": {
            "true": _rms(directions @ true),
            "from_constraints": _rms(directions @ (solved - true)),
        },
        "remaining_mm": {
            name: remaining_effect(policy.robot, q.double(), unknown).tolist()
            for name, unknown in SCENARIOS.items()
        },
    }
    if learned is not None:
        learned = learned.double().rad2deg()
        result["learned"] = learned.tolist()
        result["learned_vs_true"] = agreement(learned, true)
        result["along_directions"]["learned"] = _rms(directions @ (learned - true))
    return result


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt()) if len(values) else 0.0


@torch.no_grad()
def learned_correction(policy: Policy, q: Float[Tensor, "frames dof"]) -> Float[Tensor, " dof"] | None:
    """Mean of the learned residual over measured joints [rad]; None where the policy has none on the joints."""
    if policy.poses is None or not {"offset", "dense"} & set(policy.config.residuals):
        return None
    return (policy.poses.residual(q) - q).mean(0)


def agreement(estimate: Float[Tensor, " dof"], true: Float[Tensor, " dof"]) -> dict[str, float]:
    """Root-mean-square error and size of the true offsets [deg], and their correlation over the joints."""
    centered = estimate - estimate.mean(), true - true.mean()
    spread = float(centered[0].norm() * centered[1].norm())
    return {
        "rms_error": _rms(estimate - true),
        "rms_true": _rms(true),
        "correlation": float(centered[0] @ centered[1]) / spread if spread > 1e-12 else 0.0,
    }


def remaining_effect(
    robot: Robot, q: Float[Tensor, "frames dof"], unknown: Sequence[str]
) -> Float[Tensor, " dof"]:
    """Motion of the tip per degree of a joint's offset that everything else cannot explain.

    Least squares over all frames against the offsets of the other joints and the unknown placements (`base`:
    the base in the world, `tool`: the tip on the flange; six numbers each). Zero means not identifiable.

    Returns:
        (dof,) root mean square over frames [mm per degree], rotations at `LEVER`.
    """
    offsets, nuisance = _displacements(robot, q, unknown)
    remaining = []
    for j in range(robot.dof):
        others = torch.cat([offsets[:, :j], offsets[:, j + 1 :], *nuisance], 1)
        remaining.append(_left_over(offsets[:, j : j + 1], others).norm())
    return torch.stack(remaining) * math.radians(1) * 1e3 / math.sqrt(len(q))


def _displacements(robot: Robot, q: Tensor, unknown: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Displacement of the tip (frames * 6, columns) per unit of each offset and of each unknown placement."""
    T = forward_kinematics(robot, q)[:, robot.tip_indices[0]]
    R, p = T[:, :3, :3], T[:, :3, 3]
    eye = torch.eye(3, dtype=q.dtype).expand(len(q), 3, 3)
    none = torch.zeros_like(eye)
    # A turn w of the base moves the tip by w x p.
    turn = torch.linalg.cross(eye, p[:, None].expand(-1, 3, -1), dim=-1).transpose(1, 2)
    placements = {
        "base": torch.cat([torch.cat([eye, turn], 2), torch.cat([none, eye], 2)], 1),
        "tool": torch.cat([torch.cat([R, none], 2), torch.cat([none, R], 2)], 1),
    }
    scale = torch.tensor([1.0] * 3 + [LEVER] * 3, dtype=q.dtype)[:, None]
    offsets = jacobian(robot, q)[:, 0]
    return (offsets * scale).flatten(0, 1), [(placements[name] * scale).flatten(0, 1) for name in unknown]


def _left_over(columns: Tensor, explained_by: Tensor) -> Tensor:
    """Residual of columns after least squares; by an orthonormal basis, since the unknowns may overlap."""
    U, S, _ = torch.linalg.svd(explained_by, full_matrices=False)
    basis = U[:, 1e-9 * S[0] < S]
    return columns - basis @ (basis.T @ columns)


def grasp_joints(dataset: Demonstrations) -> Float[Tensor, "grasps dof"]:
    """Measured joints of every episode when the gripper has just been commanded to hold for the first time."""
    joints = list(dataset.spec.joint_dims)
    frames = []
    for start, end in dataset.episode_bounds.tolist():
        held = (dataset.action[start:end, dataset.spec.discrete_dims[0]] > 0.5).nonzero()
        if len(held):
            frames.append(min(start + int(held[0]) + 1, end - 1))  # its effect is seen one frame later
    return dataset.state[frames][:, joints]


def offsets_from_constraints(
    robot: Robot, q: Float[Tensor, "frames dof"], q_grasp: Float[Tensor, "grasps dof"]
) -> tuple[Float[Tensor, " dof"], Float[Tensor, "shown dof"]]:
    """Offsets by least squares from two facts about these demonstrations, without any measurement of the scene.

    The expert holds the tool vertical at all times and grasps at one height: tilts of the tool [rad, at
    `LEVER`] and deviations of the grasp height [m] are residuals of Gauss-Newton. Directions of offsets that change
    neither stay at zero.

    Returns:
        (dof,) offsets [rad], and the directions that are determined, orthonormal.
    """
    q_offset = torch.zeros(robot.dof, dtype=q.dtype)
    directions = torch.zeros(0, robot.dof, dtype=q.dtype)
    for _ in range(5):
        residual, slopes = _constraints(robot, q + q_offset, q_grasp + q_offset)
        U, S, Vh = torch.linalg.svd(slopes, full_matrices=False)
        shown = S * math.radians(1) * 1e3 > IDENTIFIABLE
        directions = Vh[shown]
        q_offset = q_offset - directions.T @ ((U[:, shown].T @ residual) / S[shown])
    return q_offset, directions


def _constraints(robot: Robot, q: Tensor, q_grasp: Tensor) -> tuple[Tensor, Tensor]:
    """Root-mean-square scaled residuals [m] and their derivatives by the offsets [m/rad]."""
    axis = forward_kinematics(robot, q)[:, robot.tip_indices[0], :3, 2]
    turning = jacobian(robot, q)[:, 0, 3:].transpose(1, 2)  # (frames, dof, 3)
    change = torch.linalg.cross(turning, axis[:, None].expand_as(turning), dim=-1).transpose(1, 2)
    tilt, tilt_slopes = axis[:, :2].flatten(), change[:, :2].flatten(0, 1)
    height = forward_kinematics(robot, q_grasp)[:, robot.tip_indices[0], 2, 3]
    height_slopes = jacobian(robot, q_grasp)[:, 0, 2]
    weights = LEVER / math.sqrt(len(q)), 1 / math.sqrt(max(len(q_grasp), 1))
    residual = torch.cat([weights[0] * tilt, weights[1] * (height - height.mean())])
    slopes = torch.cat([weights[0] * tilt_slopes, weights[1] * (height_slopes - height_slopes.mean(0))])
    return residual, slopes


def verdict(agreement: Mapping[str, float]) -> str:
    """Words for whether an estimate found the true offsets."""
    ratio = agreement["rms_error"] / max(agreement["rms_true"], 1e-9)
    if ratio < 0.25:
        return "recovered"
    return "partly recovered" if ratio < 0.7 else "not recovered"
