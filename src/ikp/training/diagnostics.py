"""Scale of the inputs of a policy's networks: a network learns little from an input that is far too small."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from ikp.policies import ImplicitPolicy, Policy
from ikp.policies.energy import Conditioning
from ikp.policies.image_plane import OBSERVED_FEATURES
from ikp.spec import Batch

SMALLEST, LARGEST = 0.05, 20.0
"""Range of an acceptable root mean square of an input. Image features at 0.03 beside joints at 1 once cost 40 points of
success rate."""


@torch.no_grad()
def input_scales(policy: Policy, batch: Batch) -> dict[str, float]:
    """Root mean square of every group of inputs over a batch of demonstrations.

    Args:
        policy: policy after `fit_scales`.
        batch: a training batch.

    Returns:
        The root mean squares of those inputs that the policy has: `state`, `environment_state`, each camera by name,
        `observed poses`, `action` (the standardised encoded action), `link poses` (of the demonstrated action) and
        `goal` (in the image).
    """
    parts, context = policy.encoder.parts(batch), policy.encode(batch)
    demonstrated = policy.actions.encode(context.state, batch["action"])
    parts["action"] = policy.scale(demonstrated)
    if policy.poses is not None and context.far_ends is not None and policy.config.observes_poses:
        parts["observed poses"] = policy.poses.observation_features(context.far_ends)
    if isinstance(policy, ImplicitPolicy) and policy.config.has_kinematics:
        parts["link poses"] = torch.cat(
            [
                _prefix_features(segment.conditioning, step)
                for segment, _, step in policy.way_point_segments(context, demonstrated)
            ]
        )
    if policy.plane is not None:
        parts["goal"] = context.features[:, -OBSERVED_FEATURES:]
    return {name: float(value.square().mean().sqrt()) for name, value in parts.items() if value.numel()}


def _prefix_features(conditioning: Conditioning, step: Tensor) -> Tensor:
    links = conditioning.link_inputs
    assert links is not None
    return links.terms(step + conditioning.shift).prefix[:, links.poses.shown]


def warn_of_scales(scales: Mapping[str, float]) -> None:
    """Warn about all inputs outside the range from `SMALLEST` to `LARGEST`; a constant input has scale 0."""
    odd = {name: scale for name, scale in scales.items() if not SMALLEST <= scale <= LARGEST}
    if odd:
        listed = ", ".join(f"{name!r} {scale:.3g}" for name, scale in odd.items())
        warnings.warn(
            f"inputs far from unit scale (a root mean square of {SMALLEST:g} to {LARGEST:g}): {listed}. A network "
            "hardly uses an input that is small beside the others: check its units and that it varies in the "
            "demonstrations",
            stacklevel=2,
        )
