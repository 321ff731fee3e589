"""Action errors on demonstrations; the loss is no substitute, because InfoNCE can fall while actions get worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikp.kinematics import forward_kinematics
from ikp.policies import Policy
from ikp.spec import Batch

MISS_DEGREES = 5.0
MISS_METRES = 0.010
"""A chosen action is a large miss if its tip pose is off by more than either of these."""
MOVES_DEGREES = 1.0
"""Demonstrated joint motions above this should not be answered by staying."""
STAYS = 0.1
"""A chosen joint motion below this share of the demonstrated one, in any direction, is staying."""

IMAGES_OF_A_BATCH = 2**28
"""Bytes of images that a batch outside of a training step holds."""
IMAGES_AT_ONCE = 2**26
"""Bytes of images that a policy sees at once outside of a training step; its encoder takes about 30 times as much."""


def frames_at_once(policy: Policy) -> int:
    """The number of observations whose images are `IMAGES_AT_ONCE`, at least 1."""
    return _frames_within(policy, IMAGES_AT_ONCE)


def frames_of_a_batch(policy: Policy, most: int) -> int:
    """The number of observations whose images are `IMAGES_OF_A_BATCH`, from 1 to `most`."""
    return min(most, _frames_within(policy, IMAGES_OF_A_BATCH))


def _frames_within(policy: Policy, image_bytes: int) -> int:
    each = policy.config.history * sum(map(math.prod, policy.spec.image_shapes.values()))
    return max(1, image_bytes // max(1, each))


def few_at_once(policy: Policy, batch: Batch, decide: Callable[[Any], Tensor]) -> Tensor:
    """The decisions on a batch, made for a few frames at a time where their images are large."""
    size = frames_at_once(policy)
    starts = range(0, len(batch["action"]), size)
    return torch.cat([decide(_rows(batch, slice(start, start + size))) for start in starts])


def _rows(batch: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    return {
        key: _rows(value, rows) if isinstance(value, Mapping) else value[rows] for key, value in batch.items()
    }


def action_errors(policy: Policy, batch: Batch) -> dict[str, float]:
    """Errors of the policy's actions relative to the demonstrated ones, over all way-points of a batch of frames.

    Returns:
        Medians and 90th percentiles of the joint error [deg, largest joint] and of the tip's position [mm] and
        orientation [deg] errors by nominal kinematics; the shares of large misses (`miss`), of joints that stay where
        the demonstration moves them (`stay`), of wrong discrete values (`discrete_wrong`), and errors of numbers that
        move no joint (`extra`), in units of the demonstrations' standard deviation. Without a robot, the action error
        in these units.
    """
    action, chosen = batch["action"], few_at_once(policy, batch, policy.act_in_model_units)
    errors: dict[str, float] = {}
    discrete = list(policy.spec.discrete_dims)
    if discrete:
        errors["discrete_wrong"] = float((action[..., discrete] != chosen[..., discrete]).float().mean())
    extras = list(policy.spec.extra_dims)
    if policy.extras is not None:
        difference = (action[..., extras] - chosen[..., extras]).flatten(1) / policy.extras.scale.std
        errors |= quantiles("extra", difference.abs().amax(-1))
    if policy.robot is None:
        state = batch["state"][:, -1]
        difference = policy.actions.encode(state, action) - policy.actions.encode(state, chosen)
        return errors | quantiles("action", (difference / policy.scale.std).norm(dim=-1))
    way_points, robot = policy.config.timing.way_points, policy.robot
    q_a, q_b = (each[..., list(policy.spec.joint_dims)].reshape(-1, robot.dof) for each in (action, chosen))
    position, angle = tip_distance(policy, q_a, q_b)
    miss = (position > MISS_METRES) | (angle > math.radians(MISS_DEGREES))
    errors |= quantiles("joint_deg", robot.shortest(q_a - q_b).abs().amax(-1).rad2deg())
    errors |= quantiles("tip_mm", position * 1e3) | quantiles("tip_deg", angle.rad2deg())
    measured = policy.measured_joints(batch).repeat_interleave(way_points, 0)
    demonstrated, answered = (robot.shortest(q - measured) for q in (q_a, q_b))
    stay = stay_share(torch.zeros_like(measured), demonstrated, answered)
    return errors | {"miss": float(miss.float().mean()), "stay": stay}


def stay_share(
    measured: Float[Tensor, "batch joints"],
    demonstrated: Float[Tensor, "batch joints"],
    chosen: Float[Tensor, "batch joints"],
) -> float:
    """Share of the demonstrated joint motions above `MOVES_DEGREES` for which the policy stays; 0 if there are none.

    Where demonstrations often rest, staying is a narrow peak of the density that attracts an uncertain policy.

    Args:
        measured, demonstrated, chosen: joint positions [rad].
    """
    motion = (demonstrated - measured).abs()
    moves = motion > math.radians(MOVES_DEGREES)
    stays = (chosen - measured).abs() < STAYS * motion
    return float((moves & stays).sum() / moves.sum().clamp(min=1))


def tip_distance(
    policy: Policy, q_a: Float[Tensor, "batch joints"], q_b: Float[Tensor, "batch joints"]
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """Largest distance [m] and angle [rad] over the tips between two joint vectors, by nominal kinematics."""
    assert policy.robot is not None
    tips = list(policy.robot.tip_indices)
    a, b = (forward_kinematics(policy.robot, q)[:, tips] for q in (q_a, q_b))
    return pose_distance(a, b)


def pose_distance(
    a: Float[Tensor, "batch tips 4 4"], b: Float[Tensor, "batch tips 4 4"]
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """Largest distance [m] and angle [rad] over the tips between two sets of poses."""
    distance = (a[..., :3, 3] - b[..., :3, 3]).norm(dim=-1)
    # |Ra - Rb|_F = 2 sqrt(2) sin(angle / 2) is accurate for small angles, where acos of the trace is not
    chord = (a[..., :3, :3] - b[..., :3, :3]).flatten(-2).norm(dim=-1)
    angle = 2 * torch.asin((chord / (2 * math.sqrt(2))).clamp(max=1))
    return distance.amax(-1), angle.amax(-1)


def evenly_spaced(frames: Int[Tensor, " frames"], most: int) -> Int[Tensor, " spaced"]:
    """At most `most` of the frames, evenly spaced."""
    return frames[torch.linspace(0, len(frames) - 1, min(most, len(frames))).long()]


def quantiles(name: str, values: Tensor) -> dict[str, float]:
    """Median and 90th percentile as `NAME_median` and `NAME_p90`."""
    return {f"{name}_median": float(values.median()), f"{name}_p90": float(values.quantile(0.9))}
