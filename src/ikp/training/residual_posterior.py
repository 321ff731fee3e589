"""The learned corrections of the kinematics, each with an interval that says what the demonstrations show of it.

A network can answer other link poses with other weights, so a correction that training found is not yet one that the
data show. The posterior is that of a linear model around the trained policy: standardised errors of its regression on
held-out frames as functions of the corrections and of the regression's weights, with a prior on both, from which the
weights are integrated out. Without that every correction would look certain. As in `ikp.calibration.from_policy`, a
demonstration counts as one independent observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ikp.data import Demonstrations
from ikp.policies import Policy
from ikp.policies.implicit import ImplicitPolicy
from ikp.policies.observation import EncodedImages
from ikp.policies.policy import batch_to
from ikp.policies.residual import DRIFT_PRIOR
from ikp.spec import Batch
from ikp.training.validation import evenly_spaced, frames_of_a_batch

NUMBERS = 512
"""Errors of the regression that are used, over the dimensions of the action and evenly spaced held-out frames."""
WIDE = 0.7
"""Share of the prior's standard deviation from which a correction counts as not identified."""
LEAST_WEIGHT = 1e-2
"""Smallest prior standard deviation of the weights of a layer, which otherwise is their root mean square."""
_DIFFERENCE = 1e-3
_SPREAD = (1e-3, 1e3)


@dataclass(frozen=True)
class ResidualPosterior:
    """Learned corrections and their standard deviations.

    Attributes:
        names: what each corrects, such as a joint.
        units: `deg` or `mm` of each.
        value: corrections, of a dense residual their mean over the frames.
        prior: standard deviations before any data.
        sigma: standard deviations after them; None for a policy without a regression, which has no likelihood.
    """

    names: Sequence[str]
    units: Sequence[str]
    value: Sequence[float]
    prior: Sequence[float]
    sigma: Sequence[float] | None

    @property
    def identified(self) -> list[bool]:
        """Whether the data say more about a correction than its prior."""
        if self.sigma is None:
            return [False] * len(self.names)
        return [sigma < WIDE * prior for sigma, prior in zip(self.sigma, self.prior, strict=True)]

    def to_json(self) -> dict[str, float]:
        """Corrections and standard deviations by name, for the log."""
        values = {
            f"{name} [{unit}]": value
            for name, unit, value in zip(self.names, self.units, self.value, strict=True)
        }
        if self.sigma is not None:
            values |= {
                f"{name} sigma [{unit}]": sigma
                for name, unit, sigma in zip(self.names, self.units, self.sigma, strict=True)
            }
        return values

    def __str__(self) -> str:
        """One line per correction: value, 95 % interval, and whether the data identify it."""
        width = max(map(len, self.names))
        lines = []
        for i, (name, unit, value) in enumerate(zip(self.names, self.units, self.value, strict=True)):
            text = f"{name:{width}}  {value:7.3f}"
            if self.sigma is None:
                text += f" {unit}  no interval: the policy has no regression"
            else:
                known = "" if self.identified[i] else "  not identified: hardly narrower than the prior"
                text += f" +- {1.96 * self.sigma[i]:.3f} {unit}{known}"
            lines.append(text)
        return "\n".join(lines)


@torch.no_grad()
def residual_posterior(
    policy: Policy, demonstrations: Demonstrations, frames: Int[Tensor, " frames"], count: int
) -> ResidualPosterior | None:
    """The corrections that a trained policy has learned; None where it learns none.

    Args:
        policy: a trained policy in evaluation mode.
        demonstrations: demonstrations in memory.
        frames: held-out frames, of which a few are used.
        count: number of demonstrations that trained the policy.
    """
    if policy.poses is None or not policy.config.residuals:
        return None
    device = policy.bounds.low.device
    few = evenly_spaced(frames, frames_of_a_batch(policy, max(1, NUMBERS // policy.dims)))
    batch = batch_to(demonstrations.batch(few, **policy.batch_options), device)
    parameters, priors = _parameters(policy)
    sigma = None
    if isinstance(policy, ImplicitPolicy) and policy.proposal is not None:
        information = _information(policy, policy.proposal, batch, parameters, count)
        sigma = torch.linalg.inv(information + (1 / priors.double().square()).diag()).diagonal().sqrt()
    return _described(policy, batch, priors, sigma)


def _parameters(policy: Policy) -> tuple[list[Tensor], Tensor]:
    """Parameters that are constant corrections of joints and links, and their priors' standard deviations."""
    assert policy.poses is not None
    residual = policy.poses.residual
    parameters: list[Tensor] = []
    priors: list[Tensor] = []
    if residual.offset is not None:
        parameters.append(residual.offset.value)
        priors.append(residual.joint_prior)
    elif residual.dense is not None:  # its last bias is a constant per joint
        parameters.append(residual.dense.exit_bias)
        priors.append(residual.joint_prior)
    if residual.drift is not None:
        parameters.append(residual.drift.value)
        priors.append(torch.full_like(residual.drift.value, DRIFT_PRIOR).flatten())
    if residual.link is not None:
        parameters.append(residual.link.value)
        priors.append(residual.link_prior.repeat(len(residual.link.value)))
    return parameters, torch.cat(priors)


def _information(
    policy: ImplicitPolicy, proposal: nn.Module, batch: Batch, parameters: Sequence[Tensor], count: int
) -> Float[Tensor, "corrections corrections"]:
    """Information of the demonstrations about the corrections, with the regression's weights integrated out."""
    images = policy.encode_images(batch)
    errors = _errors(policy, batch, images)
    spread = (1.4826 * errors.abs().median(0).values).clamp(*_SPREAD)
    slopes = []
    for parameter in parameters:
        flat = parameter.view(-1)
        for i in range(len(flat)):
            flat[i] += _DIFFERENCE
            slopes.append((_errors(policy, batch, images) - errors) / _DIFFERENCE)
            flat[i] -= _DIFFERENCE
    # every demonstration is one observation, whatever its number of frames
    weight = math.sqrt(count / len(errors)) / spread
    by_correction = (torch.stack(slopes, -1) * weight[:, None]).flatten(0, 1).double()
    features = policy.encode(batch, images).features
    return information_beside(by_correction, _covariance_of_weights(proposal, features, weight))


def information_beside(
    slopes: Float[Tensor, "rows corrections"], covariance: Float[Tensor, "rows rows"]
) -> Float[Tensor, "corrections corrections"]:
    """Information about corrections of observations with unit noise, and further noise of a covariance."""
    noise = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return slopes.T @ torch.linalg.solve(noise + covariance, slopes)


def _errors(policy: Policy, batch: Batch, images: EncodedImages) -> Float[Tensor, "frames dims"]:
    """Errors of the regression, divided by the standard deviations that it predicts."""
    context = policy.encode(batch, images)
    near = policy.regression(context)
    assert near is not None
    demonstrated = policy.scale(policy.actions.encode(context.state, batch["action"]))
    return (near.mean - demonstrated) / near.stddev


def _covariance_of_weights(
    proposal: nn.Module, features: Float[Tensor, "frames context"], weight: Float[Tensor, " dims"]
) -> Float[Tensor, "rows rows"]:
    """Covariance of the weighted standardised errors (frames * dims) by the prior of the regression's weights."""
    parameters = {name: value.detach() for name, value in proposal.named_parameters()}
    predicted = functional_call(proposal, parameters, (features,)).stddev

    def mean(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        return functional_call(proposal, parameters, (one[None],)).mean[0]

    slopes: dict[str, Any] = vmap(jacrev(mean), in_dims=(None, 0))(parameters, features)
    rows = features.new_zeros(predicted.numel(), predicted.numel(), dtype=torch.float64)
    for name, value in parameters.items():
        size = float(value.square().mean().sqrt().clamp_min(LEAST_WEIGHT))
        scaled = slopes[name].flatten(2) * (size * weight / predicted)[..., None]
        flat = scaled.flatten(0, 1)
        rows += (flat @ flat.T).double()
    return rows


def _described(
    policy: Policy, batch: Batch, priors: Float[Tensor, " corrections"], sigma: Tensor | None
) -> ResidualPosterior:
    assert policy.poses is not None
    assert policy.robot is not None
    residual, robot = policy.poses.residual, policy.robot
    names: list[str] = []
    values: list[Tensor] = []
    lengths: list[bool] = []
    if residual.offset is not None or residual.dense is not None:
        q = policy.measured_joints(batch)
        drift = 0 if residual.drift is None else residual.drift.delta(q)
        names += robot.joint_names
        values.append((residual(q) - q - drift).mean(0))
        lengths += [kind == "prismatic" for kind in robot.joint_types]
    if residual.drift is not None:
        names += [f"{joint} drift {function}" for joint in robot.joint_names for function in ("sin", "cos")]
        values.append((residual.drift.value * residual.drift.turning).flatten())
        lengths += [False] * residual.drift.value.numel()
    if residual.link is not None:
        axes = [f"{turn}{axis}" for turn in ("", "turn ") for axis in "xyz"]
        names += [f"{link.name} {axis}" for link in robot.links for axis in axes]
        values.append(residual.link.value.flatten())
        lengths += [axis in axes[:3] for _ in robot.links for axis in axes]
    factor = torch.tensor([1e3 if is_length else math.degrees(1.0) for is_length in lengths])
    units = ["mm" if is_length else "deg" for is_length in lengths]
    found = None if sigma is None else (sigma.cpu() * factor).tolist()
    return ResidualPosterior(
        names, units, (torch.cat(values).cpu() * factor).tolist(), (priors.cpu() * factor).tolist(), found
    )
