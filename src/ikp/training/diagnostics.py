"""How large the inputs of a policy's networks are; one that is far too small is hardly learned from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch

from ikp.policies import ImplicitPolicy, Policy
from ikp.policies.image_plane import OBSERVED_FEATURES
from ikp.spec import Batch

SMALLEST, LARGEST = 0.05, 20.0
"""Root mean squares between which an input is fit to learn from: an image encoder that ended at 0.03 beside joints
at 1 cost a prototype 40 points of success."""


@torch.no_grad()
def input_scales(policy: Policy, batch: Batch) -> dict[str, float]:
    """Root mean square of every group of inputs over a batch of demonstrations.

    Args:
        policy: with fitted scales.
        batch: observations and `action`, as the loss takes them.

    Returns:
        By name: `state`, `environment_state`, one per camera, `observed poses`, `action` (the standardised
        variables), `link poses` (those of the demonstrated action), `goal` (in the image);
        what the policy has of these.
    """
    parts, context = policy.encoder.parts(batch), policy.encode(batch)
    expert = policy.actions.encode(context.state, batch["action"])
    parts["action"] = policy.scale(expert)
    if policy.poses is not None and context.far_ends is not None and policy.config.observes_poses:
        parts["observed poses"] = policy.poses.observation_features(context.far_ends)
    if isinstance(policy, ImplicitPolicy) and (links := policy.conditioning(context).link_inputs) is not None:
        targets = expert + policy.actions.shift(context.state)
        parts["link poses"] = links.terms(targets).prefix[:, links.poses.shown]
    if policy.plane is not None:
        parts["goal"] = context.features[:, -OBSERVED_FEATURES:]
    return {name: float(value.square().mean().sqrt()) for name, value in parts.items()}


def warn_of_scales(scales: Mapping[str, float]) -> None:
    """One warning that names every input outside of `SMALLEST` to `LARGEST`; a constant one is at 0."""
    odd = {name: scale for name, scale in scales.items() if not SMALLEST <= scale <= LARGEST}
    if odd:
        listed = ", ".join(f"{name!r} {scale:.3g}" for name, scale in odd.items())
        warnings.warn(
            f"inputs far from unit scale (root mean square {SMALLEST:g} to {LARGEST:g} is fit): {listed}. A network "
            "hardly uses an input that is small beside the others: check its units and that it varies in the "
            "demonstrations",
            stacklevel=2,
        )
