"""Noise on the measured joints of a training batch, so that a policy learns to return to the demonstrated motion.

Demonstrations show the way from where they are, seldom the way back to it. A policy that fits them closely repeats
their motion from a measured state that its own errors have moved, and the errors grow. With noise on the measured
joints and the commanded joints as they were recorded, the action of a training example leads back from a small error
(compare the noise injected while demonstrations are recorded: Laskey et al., DART, arXiv 1703.09327).
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.data import Demonstrations
from ikp.policies import Policy
from ikp.spec import Batch


class StateNoise:
    """Adds normal noise to the measured joints of a batch, the same to all frames of an observation.

    Args:
        joints: the dimensions of the measured joints in the state.
        std: standard deviation of the noise of each [rad or m].
    """

    def __init__(self, joints: list[int], std: Float[Tensor, " joints"]) -> None:
        self.joints, self.std = joints, std

    def __call__(self, batch: Batch) -> Batch:
        """The batch with noise, drawn from torch's generator."""
        state = batch["state"].clone()
        noise = torch.randn(len(state), 1, len(self.joints), device=state.device)
        state[..., self.joints] += noise * self.std.to(state.device)
        return cast(Batch, {**batch, "state": state})


def state_noise(demonstrations: Demonstrations, policy: Policy, share: float) -> StateNoise | None:
    """The noise for demonstrations, in proportion to the joint motions from a frame to the first way-point.

    Args:
        demonstrations: the demonstrations.
        policy: it knows when way-points are due, and which joints turn without limits.
        share: standard deviation of the noise, as a share of that of the motions.

    Returns:
        None for a share of 0, or if the state has no measured joints.
    """
    joints = list(demonstrations.spec.joint_dims)
    if not share or not joints or max(joints) >= demonstrations.spec.state_dim:
        return None
    target = demonstrations.way_points(policy.due[:1])[:, joints]
    motions = target - demonstrations.state[:, joints]
    if policy.robot is not None:
        motions = policy.robot.shortest(motions)
    return StateNoise(joints, share * motions.std(0, unbiased=False))
