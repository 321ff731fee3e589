"""Diagnosis of a trained policy: whether its decisions depend on the measured state alone, or on what it sees.

Demonstrations are smooth, so the state foretells the next action well, and a policy may continue the motion that it
measures without looking (de Haan et al., Causal Confusion in Imitation Learning, arXiv 1905.11979). Errors on held-out
demonstrations do not show that.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikp.data import Demonstrations
from ikp.policies import Policy
from ikp.policies.policy import batch_to
from ikp.spec import Batch
from ikp.training.validation import evenly_spaced, few_at_once, frames_of_a_batch

FRAMES = 256
"""Largest number of held-out frames."""
NEIGHBOURS = 5
LEAST_CHANGE = 1.0
"""A decision that other images change by less than this share of its own error hardly depends on them."""


@torch.no_grad()
def dependence(
    policy: Policy,
    demonstrations: Demonstrations,
    training: Int[Tensor, " train"],
    held_out: Int[Tensor, " test"],
) -> dict[str, float]:
    """Errors and changes of decisions on held-out frames, in units of the demonstrated actions' standard deviation.

    Args:
        policy: policy in evaluation mode.
        demonstrations: demonstrations in memory.
        training: frames of the training, from which actions are predicted by the state alone.
        held_out: frames for the test, of which at most `FRAMES` are used, fewer where images are large.

    Returns:
        Root mean squares over frames and dimensions of: `error_policy`, the error of the decisions;
        `error_state_alone`, that of the mean action of the nearest states of the training; and `change_NAME` of each
        camera and of `environment_state`, by how much the decision changes if that input is taken from another
        episode.
    """
    frames = evenly_spaced(held_out, frames_of_a_batch(policy, FRAMES))
    batch = _batch(policy, demonstrations, frames)
    decided, demonstrated = _decided(policy, batch), _encoded(policy, batch)
    by_state = _nearest(policy, demonstrations, training, batch)
    found = {
        "error_policy": _rms(decided - demonstrated),
        "error_state_alone": _rms(by_state - demonstrated),
    }
    others = _batch(policy, demonstrations, _of_other_episodes(demonstrations, training, frames))
    for name, changed in _exchanged(batch, others).items():
        found[f"change_{name}"] = _rms(_decided(policy, changed) - decided)
    return found


def warn_of_copied_motion(found: dict[str, float]) -> None:
    """Warn if no camera or environment state matters to the decisions."""
    changes = {name: value for name, value in found.items() if name.startswith("change_")}
    if changes and max(changes.values()) < LEAST_CHANGE * found["error_policy"]:
        listed = ", ".join(f"{name.removeprefix('change_')} {value:.2f}" for name, value in changes.items())
        warnings.warn(
            "the decisions hardly depend on what the policy sees: the inputs of another episode change them by "
            f"{listed} standard deviations, and their error is {found['error_policy']:.2f}. The policy continues the "
            "motion that it measures: train longer, collect more demonstrations, or use fewer decisions per second "
            "(--action-rate, --way-points)",
            stacklevel=2,
        )


def _batch(policy: Policy, demonstrations: Demonstrations, frames: Tensor) -> Batch:
    return batch_to(demonstrations.batch(frames, **policy.batch_options), policy.scale.mean.device)


def _encoded(policy: Policy, batch: Batch) -> Float[Tensor, "frames dims"]:
    return policy.scale(policy.actions.encode(batch["state"][:, -1], batch["action"]))


def _decided(policy: Policy, batch: Batch) -> Float[Tensor, "frames dims"]:
    return policy.scale(few_at_once(policy, batch, lambda few: policy.choose(policy.encode(few))))


def _nearest(
    policy: Policy, demonstrations: Demonstrations, training: Tensor, batch: Batch
) -> Float[Tensor, "frames dims"]:
    """The mean standardised action of the frames in the training with the nearest states."""
    device = policy.scale.mean.device
    state = demonstrations.state[training].to(device)
    action = demonstrations.way_points(policy.due, training).to(device)
    encoded = policy.scale(policy.actions.encode(state, action))
    apart = torch.cdist(policy.encoder.state(batch["state"][:, -1]), policy.encoder.state(state))
    return encoded[apart.topk(min(NEIGHBOURS, len(training)), largest=False).indices].mean(1)


def _of_other_episodes(
    demonstrations: Demonstrations, training: Tensor, frames: Tensor
) -> Int[Tensor, " frames"]:
    """For each frame, the one at the same position in an episode of the training; the last where that is shorter."""
    episodes = demonstrations.episode_index[training].unique()
    chosen = episodes[torch.arange(len(frames)) % len(episodes)]
    same = []
    for episode, position in zip(chosen, demonstrations.frame_index[frames], strict=True):
        own = torch.nonzero(demonstrations.episode_index == episode).flatten()
        same.append(own[min(int(position), len(own) - 1)])
    return torch.stack(same)


def _exchanged(batch: Batch, others: Batch) -> dict[str, Batch]:
    """The batch with one input of the other batch, by the name of the input."""
    found: dict[str, dict[str, Any]] = {}
    for camera, images in others["images"].items():
        found[camera] = {**batch, "images": {**batch["images"], camera: images}}
    if "environment_state" in others:
        found["environment_state"] = {**batch, "environment_state": others["environment_state"]}
    return cast(dict[str, Batch], found)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
